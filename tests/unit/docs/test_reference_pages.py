"""The reference pages say what the code is: settings, metrics, endpoints, error codes, commands."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uhlp import errors
from uhlp.catalogue import CATALOGUE
from uhlp.cli.app import app
from uhlp.docs.generate import FOLDER, GENERATED, page_text
from uhlp.docs.settings_page import docstrings_of_fields, settings_groups
from uhlp.settings import Settings
from uhlp.web.admin.application import openapi_document
from uhlp.web.edge import Edge
from uhlp.web.lanes_documented import LANES


def _read(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def _first_cells(page: str, column: int = 0) -> set[str]:
    """What stands as code in this column of the page's tables."""
    cells = [re.split(r"(?<!\\)\|", line)[column + 1].strip() for line in page.splitlines() if line.startswith("| ")]
    return {cell.strip("`") for cell in cells if cell.startswith("`")}


@pytest.mark.parametrize("name", GENERATED)
def test_the_page_is_what_the_code_makes(name: str) -> None:
    assert _read(name) == page_text(name), "run `python -m uhlp.docs.generate`"


def test_every_setting_is_on_its_page() -> None:
    def names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in values.items():
            if isinstance(value, Mapping) and value:
                yield from names(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    shown = _first_cells(_read("settings"))
    assert set(names(Settings().model_dump())) <= shown
    assert "llm.providers.<name>.api_key" in shown
    assert "alerts.webhooks[].url" in shown


def test_every_setting_says_what_it_is_for() -> None:
    without = [
        group.prefix + name
        for group in settings_groups(Settings, "")
        if group.model.__module__ != "uhlp.models.definition"  # a rule is explained where definitions are
        for name in group.fields
        if name != "kind"
        and name not in docstrings_of_fields(group.model)
        and f"`{name}`" not in str(group.model.__doc__)
    ]
    explained_by_their_section = {
        "log.format",
        "log.level",
        "users.source",
        *(f"overrides.s3.{name}" for name in ("bucket", "region", "access_key_id", "secret_access_key")),
    }
    assert set(without) <= explained_by_their_section


def test_every_metric_is_on_its_page_and_no_other() -> None:
    assert _first_cells(_read("metrics")) == set(CATALOGUE)


def test_every_error_code_is_on_its_page_and_no_other() -> None:
    leaves = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.UhlpError)]
    assert _first_cells(_read("errors")) == {one.code for one in leaves if one is not errors.UhlpError}


def test_every_command_has_its_section() -> None:
    sections = {line.removeprefix("## ") for line in _read("commands").splitlines() if line.startswith("## ")}
    assert sections == set(_commands(app, "uhlp"))


def _commands(group: typer.Typer, name: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{name} {command.name or command.callback.__name__.replace('_', '-')}"
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _commands(below.typer_instance, f"{name} {below.name}")


def test_every_endpoint_is_on_its_page() -> None:
    shown = _first_cells(_read("endpoints"), column=1)
    document = openapi_document()
    assert set(document["paths"]) <= shown
    assert "/admin/v1/apps/{app_id}/diff" in shown
    operations = [(path, one) for path, found in document["paths"].items() for one in found.values()]
    assert [path for path, one in operations if not one.get("description")] == []
    assert {lane.path for lane in LANES} <= shown


class _Named:
    """A lane that says its name and nothing else."""

    def __init__(self, name: str, reached: list[str]) -> None:
        self._name = name
        self._reached = reached

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._reached.append(self._name)


async def test_the_table_of_lanes_is_the_edge() -> None:
    reached: list[str] = []
    names = [name for name in Edge.__init__.__annotations__ if name not in ("hosts", "return")]
    lanes: dict[str, ASGIApp] = {name: _Named(name, reached) for name in names}
    edge = Edge(hosts=None, **lanes)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        raise AssertionError("a lane answers, not the edge")

    for lane in LANES:
        path = re.sub(r"{\w+}", "word", lane.path)
        await edge({"type": "http", "path": path, "raw_path": path.encode(), "headers": []}, receive, send)
    assert reached == [lane.lane for lane in LANES]
    by_openapi = {"admin", "metrics", "otlp"}
    assert {lane.lane for lane in LANES} | by_openapi == set(names)
