"""The pages that people wrote: every link leads somewhere, every name of a setting or command in them exists."""

import re
from pathlib import Path

import pytest

from uhlp.docs.generate import FOLDER
from uhlp.web.documentation.pages import html_pages

PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))
MADE_FROM_CODE = ("commands", "endpoints", "errors", "metrics", "settings")
_LINK = re.compile(r"\]\(([^)]+)\)")
_NO_SETTINGS = {"llm.model", "llm.budget", "llm.judge", "llm.cache", "evolution.db", "llm.generate"}
"""What is alike to a setting: parts of a definition, a file, and the end of a tool's name."""
_CODE = re.compile(r"`([^`\n]+)`")


def _text(page: str) -> str:
    return (FOLDER / f"{page}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return {name: page.decode() for name, page in html_pages().items()}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_place_that_there_is(page: str, shown: dict[str, str]) -> None:
    for target in _LINK.findall(_text(page)):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        there = file.removesuffix(".md") or page
        assert there in PAGES, target
        assert not anchor or f'id="{anchor}"' in shown[there], target


def test_every_link_of_the_readme_leads_to_a_file(shown: dict[str, str]) -> None:
    """And so do those of the examples: they are read on disk, from where the file is."""
    checkout = FOLDER.parents[1]
    for readme in (checkout / "README.md", *(checkout / "uhlp" / "demo").glob("*/README.md")):
        for target in _LINK.findall(readme.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            if not target.startswith(("http:", "https:")):
                assert (readme.parent / file).is_file(), (readme, target)
                assert not anchor or f'id="{anchor}"' in shown[Path(file).stem], target


def test_the_contents_lead_to_every_page() -> None:
    assert {"index", *(target.removesuffix(".md") for target in _LINK.findall(_text("index")))} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_file_of_the_source_that_a_page_names_exists(page: str) -> None:
    checkout = FOLDER.parents[1]
    named = re.findall(r"`((?:uhlp/|tests/)?[a-z_]+(?:/[a-z_0-9]+)*\.py)`", _text(page))
    missing = [one for one in named if not ((checkout / one).is_file() or (checkout / "uhlp" / one).is_file())]
    assert [one for one in missing if not any(FOLDER.parent.rglob(one))] == []


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(MADE_FROM_CODE)))
def test_a_command_or_setting_that_a_page_names_exists(page: str) -> None:
    commands, settings = _text("commands"), _text("settings")
    words = " ".join(_CODE.findall(_text(page)))
    for command in re.findall(r"uhlp ([a-z-]+)", words):
        assert re.search(rf"^## uhlp {command}\b", commands, re.MULTILINE), command
    variables = {one.lower().replace("__", ".") for one in re.findall(r"(?<!secret:)UHLP_([A-Z_]+)", _text(page))}
    for name in variables - {"url"}:
        assert f"`{name}`" in settings, name
    for name in re.findall(r"\b(?:llm|sandbox|mcp|evolution|limits)\.[a-z_]+(?:\.[a-z_]+)*", words):
        assert f"`{name}" in settings or name in _NO_SETTINGS, name
