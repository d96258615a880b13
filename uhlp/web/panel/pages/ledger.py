"""The ledger: every decision, in order, hash-chained; anyone who may look may have it verified."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import BadInput
from uhlp.web.panel import addresses, requests
from uhlp.web.panel.candidate_marks import decision
from uhlp.web.panel.markup import Markup, as_json, block, button, details, empty, join, link, note, tag, when
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit

SHOWN = 50


async def ledger_page(visit: Visit) -> Page:
    evolution = visit.services.evolution
    app_id = visit.query.get("app") or None
    words = visit.query.get("words", "").strip().casefold()
    after = _number(visit.query.get("after", ""))
    outcome: list[Markup] = []

    async def verify(fields: Fields) -> str:
        told = await evolution.verify_ledger()
        outcome[:] = [_outcome(told)]
        return "The ledger holds." if told["ok"] else "The ledger does not hold."

    async def chain() -> Markup:
        told = (await evolution.overview()).get("ledger", {"seq": 0, "head": ""})
        head = tag(
            "p", f"{told['seq']:,} entries; the last hash is ", tag("code", told["head"] or "none"), class_="mono wrap"
        )
        return join(
            [head, tag("div", button("Verify the whole chain", "verify", tone="strong"), class_="buttons"), *outcome]
        )

    async def entries() -> Markup:
        return await _entries(visit, app_id, words, after)

    return Page(
        title="Ledger",
        place="Ledger",
        sections=(
            Section(name="Chain", draw=chain),
            Section(name="Filter", draw=lambda: _filters(visit), every_s=3_600, is_plain=True),
            Section(name="Entries", draw=entries),
        ),
        actions={"verify": Action(requests.VERIFY_LEDGER, verify)},
    )


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise BadInput("`after` is the number of an entry.")
    return int(text)


def _outcome(told: Mapping[str, Any]) -> Markup:
    problems = [
        note(f"{one['what']}: {one['why']}" if isinstance(one, Mapping) else str(one), "bad")
        for one in told.get("problems") or ()
    ]
    if told["ok"]:
        return join(
            [
                note(f"Recomputed: all {told['entries']:,} entries hold, and candidates are what they say.", "good"),
                *problems,
            ]
        )
    bad = told.get("firstBad") or {}
    where = f"Entry {bad['seq']} is the first that does not hold: {bad['why']}." if bad else "It does not hold."
    return join([note(where, "bad"), *problems])


async def _filters(visit: Visit) -> Markup:
    chosen = visit.query.get("app", "")
    options = [tag("option", "every application", value="")]
    options += [
        tag("option", app_id, value=app_id, selected=app_id == chosen) for app_id in visit.services.registry.app_ids()
    ]
    return tag(
        "form",
        tag("label", tag("span", "Application"), tag("select", *options, data_query="app")),
        tag(
            "label",
            tag("span", "Words, a candidate or a person"),
            tag("input", type="search", value=visit.query.get("words", ""), data_query="words"),
        ),
        tag(
            "label",
            tag("span", "After entry"),
            tag("input", type="text", inputmode="numeric", value=visit.query.get("after", ""), data_query="after"),
        ),
        tag("button", "Show", class_="button"),
        class_="filter",
        data_place=addresses.LEDGER,
    )


async def _entries(visit: Visit, app_id: str | None, words: str, after: int | None) -> Markup:
    evolution = visit.services.evolution
    seq = (await evolution.overview()).get("ledger", {"seq": 0})["seq"]
    # An application's entries are a part of all: its newest are found by reading from the start.
    begin = after if after is not None else 0 if app_id or words else max(0, seq - SHOWN)
    found: list[Mapping[str, Any]] = []
    while True:
        page = await evolution.ledger(app_id, after=begin, limit=1_000)
        found += [one for one in page if _matches(one, words)]
        if len(page) < 1_000:
            break
        begin = page[-1]["seq"]
    shown = found[:SHOWN] if after is not None else found[-SHOWN:]
    if not shown:
        return empty("No entry matches." if app_id or words or after else "Nothing was decided yet.")
    parts = [_entry(one) for one in reversed(shown)]
    more = tag("p", f"{len(found):,} entries match, {len(shown)} are shown.", class_="quiet")
    return more + tag("ol", *parts, class_="timeline")


def _matches(one: Mapping[str, Any], words: str) -> bool:
    text = " ".join(
        str(one.get(name) or "") for name in ("reason", "actor", "candidate", "component", "event", "to", "hash")
    )
    return words in text.casefold()


def _entry(one: Mapping[str, Any]) -> Markup:
    place = [part for part in (one.get("app"), one.get("component")) if part]
    rest = {name: value for name, value in one.items() if value not in (None, {}, [], ()) and name != "reason"}
    head = tag(
        "div",
        tag("strong", f"{one['seq']:,}  {decision(one)}"),
        tag(
            "span",
            " ",
            when(one["ts"]),
            f" by {one['actor']}",
            f" · {' / '.join(place)}" if place else None,
            class_="quiet",
        ),
        tag("span", " · ", link(one["candidate"], addresses.candidate(one["candidate"])))
        if one.get("candidate")
        else None,
    )
    return tag(
        "li",
        head,
        tag("p", one["reason"]),
        details("The whole entry", block(as_json(rest), f"Entry {one['seq']}"), key=f"entry-{one['seq']}"),
    )
