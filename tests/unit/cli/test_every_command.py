"""All commands of `uhlp` together: none is missing, and what they share holds for each."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from cli.conftest import Run
from uhlp.cli.app import app
from uhlp.cli.failure import EXIT_STATUSES

NAMED = {
    "serve", "demo", "estimate", "init", "apply", "diff", "status", "why", "logs", "optimize", "candidates", "show",
    "approve", "reject", "rollback", "promote-full", "quarantine", "pause", "resume", "history", "eval", "traffic",
    "ledger", "keys", "tokens", "sandbox", "settings", "metrics", "simulate-model", "bench",
}  # fmt: skip
NO_JSON = {"serve", "demo", "simulate-model", "ledger export", "sandbox build-image"}
"""What runs until it is ended, writes lines that are JSON already, or hands on what an engine says."""


def commands(group: Any = None, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with its words."""
    for name, command in (group or get_command(app)).commands.items():
        words = f"{place} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words, command


def test_every_command_that_is_spoken_of_is_there() -> None:
    assert set(get_command(app).commands) >= NAMED  # type: ignore[attr-defined]


def test_every_command_that_reads_or_acts_prints_json_when_asked() -> None:
    without = {words for words, one in commands() if not any("--json" in option.opts for option in one.params)}
    assert without == NO_JSON


def test_every_command_says_what_it_is_for_and_stands_in_a_group() -> None:
    for words, command in commands():
        assert command.help, words
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.hidden or command.rich_help_panel, name


def test_the_terminal_alone_breaks_the_paragraphs_of_a_commands_help() -> None:
    for words, command in commands():
        paragraphs = (command.help or "").split("\n\n")
        assert not [one for one in paragraphs if "\n" in one], words


async def test_the_help_says_what_exit_statuses_mean_and_how_words_are_completed(uhlp: Run) -> None:
    told = await uhlp("--help")
    words = " ".join(told.out.split())
    assert EXIT_STATUSES in words
    assert "--install-completion" in words
    completed = await uhlp(_UHLP_COMPLETE="complete_bash", COMP_WORDS="uhlp prom", COMP_CWORD="1")
    assert completed.out.split() == ["promote-full"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("uhlp why de", ["desk"]),
        ("uhlp why desk class", ["classify-ticket"]),
        ("uhlp overrides desk class", ["classify-ticket"]),
        ("uhlp compress desk c", ["classify-ticket"]),
        ("uhlp rollback desk class", ["classify-ticket"]),
        ("uhlp logs --app de", ["desk"]),
        ("uhlp show ca", ["cand-1"]),
        ("uhlp logs --fol", ["--follow"]),
        ("uhlp eval can", ["cancel"]),
    ],
)
async def test_a_shell_completes_commands_options_and_names_of_the_server(
    uhlp: Run, server: dict[str, str], typed: str, words: list[str]
) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    told = await uhlp(
        _UHLP_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1), **server
    )
    assert (told.out.split(), told.err) == (words, "")


async def test_a_shell_that_cannot_ask_the_server_completes_nothing_and_says_nothing(uhlp: Run) -> None:
    nobody = {"UHLP_URL": "http://127.0.0.1:9", "UHLP_ADMIN_TOKEN": "x"}
    told = await uhlp(_UHLP_COMPLETE="complete_bash", COMP_WORDS="uhlp why d", COMP_CWORD="2", **nobody)
    assert (told.out.split(), told.err) == ([], "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("why", "dsk", "classify-ticket"), "did you mean desk? `uhlp status` lists every application"),
        (("why", "desk", "classify-tickets"), "did you mean classify-ticket? `uhlp status` lists every component"),
        (("keys", "list", "nobody"), "there is desk"),
        (("show", "cand-2"), "did you mean cand-1? `uhlp candidates` lists every candidate"),
        (("history", "dsk"), "did you mean desk? `uhlp status` lists every application"),
        (("keys", "delete", "desk", "x"), "there is no key yet"),
        (("tokens", "delete", "x"), "there is admin"),
    ],
)
async def test_an_unknown_name_is_told_with_the_nearest_one(
    uhlp: Run, server: dict[str, str], words: tuple[str, ...], hint: str
) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    unknown = await uhlp(*words, **server)
    assert (unknown.status, unknown.out, unknown.err.splitlines()[1:]) == (1, "", [f"  {hint}"])


async def test_people_move_candidates_and_pause_what_they_name(uhlp: Run, server: dict[str, str], services) -> None:
    because = ("--reason", "tried it")
    for words in (
        ("promote-full", "cand-1"),
        ("quarantine", "cand-1"),
        ("quarantine", "cand-1", "--clear"),
        ("pause", "cand-1"),
        ("resume", "cand-1"),
        ("pause", "--app", "desk", "--component", "classify-ticket"),
        ("resume",),
    ):
        done = await uhlp(*words, *because, **server)
        assert (done.status, done.err) == (0, ""), words
    *moved, paused = services.evolution.asked
    assert moved == [
        (action, "cand-1", "admin", "tried it")
        for action in ("promote-full", "quarantine", "clear-quarantine", "pause", "resume")
    ]
    assert paused[0] == "pause"
    assert (paused[1]["app_id"], paused[1]["component_id"]) == ("desk", "classify-ticket")
    assert "everywhere" in done.out
    assert (await uhlp("pause", "--component", "x", *because, **server)).status == 1
    assert (await uhlp("pause", "cand-1", "--app", "x", *because, **server)).status == 1
    assert (await uhlp("pause", **server)).status == 2


async def test_an_applications_keys_are_made_listed_and_deleted(uhlp: Run, server: dict[str, str]) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    made = await uhlp(
        "keys", "create", "desk", "--permission", "invoke:classify-ticket", "--description", "shop", **server
    )
    raw = made.out.splitlines()[0]
    assert raw.startswith("uhlp_"), made.err
    (listed,) = json.loads((await uhlp("keys", "list", "desk", "--json", **server)).out)
    assert (listed["permissions"], listed["description"]) == (["invoke:classify-ticket"], "shop")
    assert raw not in str(listed)
    assert "argon2" not in str(listed)
    wrong = await uhlp("keys", "delete", "desk", raw, **server)
    assert (wrong.status, "the id of one" in wrong.err) == (1, True)
    gone = await uhlp("keys", "delete", "desk", listed["keyId"], **server)
    assert gone.out == f"{listed['keyId']} is deleted\n"
    assert "No keys" in (await uhlp("keys", "list", "desk", **server)).out


async def test_a_folder_and_revisions_are_compared(uhlp: Run, server: dict[str, str], tmp_path) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    same = await uhlp("diff", "desk", "--exit-code", **server)
    assert (same.status, same.out) == (0, "no difference\n"), same.err
    prompt = tmp_path / "desk" / "prompts" / "classify-ticket.yaml"
    prompt.write_text(prompt.read_text().replace("Sort the support ticket", "Put the support ticket"))
    changed = await uhlp("diff", "desk", "--exit-code", **server)
    assert (changed.status, "+  Put the support ticket into one queue" in changed.out) == (1, True)
    assert changed.out.startswith("--- a/prompts/classify-ticket.yaml\n+++ b/prompts/classify-ticket.yaml\n")
    await uhlp("apply", "desk", **server)
    (tmp_path / "desk").rename(tmp_path / "elsewhere")
    told = json.loads((await uhlp("diff", "desk", "--json", **server)).out)
    assert "-  Sort the support ticket" in told["diff"]
    back = await uhlp("diff", "desk", told["to"], told["from"], **server)
    assert (back.status, "+  Sort the support ticket" in back.out) == (0, True)
