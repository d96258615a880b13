"""One prompt: its sections, what override sets make of it, their history, and attempts to shorten it."""

from typing import Any

from pydantic import ValidationError

from uhlp.errors import OverrideNotFound, ValidationFailed
from uhlp.optimization.compress import OptimizeRequest
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.override_set import SOURCE, STABLE
from uhlp.web.admin.optimize_requests import described, send_request
from uhlp.web.admin.prompt_overrides import RestoreOverrides, list_overrides, override_history, restore_overrides
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    Markup,
    Part,
    Question,
    badge,
    block,
    details,
    diff,
    empty,
    join,
    link,
    moment,
    mono,
    note,
    table,
    tag,
    when,
)
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.shared_read import SharedRead

_COMPRESSIONS = ["Attempt", "Component", "State", "Verdict", "Saved a run", "Asked for"]
_SHOWN = 20


async def prompt_page(visit: Visit, app_id: str, name: str) -> Page:
    services = visit.services
    services.prompts.get(app_id, name)  # refuses one that is not there
    read = SharedRead(lambda: list_overrides(app_id, name, services), clock=services.clock)

    async def sections() -> Markup:
        return _sections(services.prompts.get(app_id, name), await read())

    async def changes() -> Markup:
        return await _changes(visit, app_id, name, await read())

    async def sets() -> Markup:
        return join([await _set(visit, app_id, name, one) for one in (await read())["sets"]]) or empty(
            "No section is overridden.",
            "What POST …/overrides, or a shorter prompt that is promoted, puts under a tag stands here.",
        )

    async def compressions() -> Markup:
        return await _compressions(visit, app_id, name)

    async def restore(fields: Fields) -> str:
        body = _restoring(fields)
        told = await restore_overrides(app_id, name, fields.get("tag", ""), body, services, visit.actor)
        return f"{name}@{told['tag']} is as it was at {told['revision'] or 'its file'}."

    async def compress(fields: Fields) -> str:
        strategies = ("deterministic",) if fields.get("strategies") == "deterministic" else ()
        told = await send_request(OptimizeRequest(prompt_ns=app_id, prompt_key=name, strategies=strategies), services)
        return f"Attempt {told['requestId'][:12]} is on its way."

    return Page(
        title=f"Prompt {name}",
        place="Overview",
        trail=(("Overview", addresses.OVERVIEW), (app_id, addresses.application(app_id))),
        sections=(
            Section(name="Sections", draw=sections, every_s=10),
            Section(name="What overrides change", draw=changes, every_s=10),
            Section(name="Override sets", draw=sets, every_s=10),
            Section(name="Attempts to shorten it", draw=compressions, every_s=2),
        ),
        actions={
            "restore": Action(requests.RESTORE_OVERRIDES, restore),
            "compress": Action(requests.COMPRESS, compress),
        },
    )


def _restoring(fields: Fields) -> RestoreOverrides:
    try:
        return RestoreOverrides(revision=fields.get("revision") or None, reason=fields.get("reason", ""))
    except ValidationError as error:
        raise ValidationFailed(f"The reason: {error.errors()[0]['msg']}") from None


def _sections(prompt: PromptDescriptor, told: dict[str, Any]) -> Markup:
    overridden = {key for one in told["sets"] if one["tag"] == STABLE for key in one["sections"]}
    parts = [
        details(
            join(
                [
                    mono(one["key"]),
                    f" {len(one['body']):,} characters ",
                    badge("overridden in service", "live") if one["key"] in overridden else None,
                    None if one["compressible"] else badge("not to be shortened"),
                ]
            ),
            block(one["body"], f"Section {one['key']}"),
            key=f"section-{one['key']}",
        )
        for one in told["sections"]
    ]
    return join([tag("p", "As ", mono(prompt.prompt.path), " has them.", class_="quiet"), *parts])


async def _changes(visit: Visit, app_id: str, name: str, told: dict[str, Any]) -> Markup:
    """The difference between two tags, source and stable unless others are chosen."""
    prompt = visit.services.prompts.get(app_id, name)
    before, after = visit.query.get("from") or SOURCE, visit.query.get("to") or STABLE
    tags = list(dict.fromkeys([SOURCE, STABLE, *(one["tag"] for one in told["sets"])]))

    def select(label: str, query: str, chosen: str) -> Markup:
        options = [tag("option", one, value=one, selected=one == chosen) for one in tags]
        return tag("label", tag("span", label), tag("select", *options, data_query=query))

    form = tag(
        "form",
        select("From the tag", "from", before),
        select("To the tag", "to", after),
        tag("button", "Compare", class_="button"),
        class_="filter",
        data_place=addresses.prompt(app_id, name),
    )
    try:
        text = await visit.services.overrides.diff(prompt, before, after)
    except OverrideNotFound as unknown:
        return join([form, note(unknown.message, "bad")])
    shown = diff(text, f"{before} to {after}") if text else tag("p", f"{before} and {after} say the same.")
    return join([form, tag("h3", f"{before} to {after}"), shown])


async def _set(visit: Visit, app_id: str, name: str, one: dict[str, Any]) -> Markup:
    label = one["tag"]
    history = (await override_history(app_id, name, label, visit.services))["versions"]
    head = tag(
        "h3",
        mono(label),
        " ",
        badge("in service", "good") if label == STABLE else None,
        tag(
            "span",
            f" {figures.number_of(len(one['sections']), 'section')}, on {one['parent'] or 'the file'}",
            class_="quiet",
        ),
    )
    stale = one["stale"]
    passed_over = note(f"Passed over, because the file changed below it: {', '.join(stale)}", "warn") if stale else None
    until = tag("p", "Until ", when(one["expiresAt"]), class_="quiet") if one["expiresAt"] else None
    bodies = [
        details(mono(key), block(kept["body"], f"{key} under {label}"), key=f"set-{label}-{key}")
        for key, kept in one["sections"].items()
    ]
    versions = [tag("li", _version(visit, label, place, version)) for place, version in enumerate(history)]
    first = visit.button(
        requests.RESTORE_OVERRIDES,
        "Back to the prompt's file",
        "restore",
        {"tag": label, "revision": ""},
        tone="danger",
        asks=Question(f"Remove the overrides under {label}", "The prompt is as its parent, or its file, has it."),
    )
    was = details(
        figures.number_of(len(history), "version"), tag("ol", *versions, class_="timeline"), key=f"history-{label}"
    )
    return tag("article", head, passed_over, until, *bodies, was, tag("div", first, class_="buttons"), class_="card")


def _version(visit: Visit, label: str, place: int, version: dict[str, Any]) -> Markup:
    who, why = version["provenance"].get("actor") or "nobody", version["provenance"].get("reason")
    asks = Question(f"Restore {label} at {version['revision']}", "The set is put back as it was, as one commit.")
    again = visit.button(
        requests.RESTORE_OVERRIDES, "Restore", "restore", {"tag": label, "revision": version["revision"]},
        tone="small", asks=asks,
    )  # fmt: skip
    parts: list[Part] = [mono(version["revision"]), " ", when(version["createdAt"]), f" by {who} "]
    sections = tag("p", f"{', '.join(version['sections'])}{': ' + str(why) if why else ''}", class_="quiet")
    return join([*parts, badge("now", "good") if place == 0 else again, sections])


async def _compressions(visit: Visit, app_id: str, name: str) -> Markup:
    text = "Shorter sections are tried on known samples; models are paid for it. It changes nothing but its report."
    offered = (("Shorten with rules alone", "deterministic"), ("Shorten with a model too", "all"))
    buttons = [
        visit.button(
            requests.COMPRESS,
            words,
            "compress",
            {"strategies": strategies},
            asks=Question(words, text, is_reasoned=False),
        )
        for words, strategies in offered
    ]
    found = [one for one in await visit.services.optimize_runs.all_of(app_id) if one.request.prompt_key == name]
    rows = []
    for one in found[:_SHOWN]:
        told = described(one, is_short=True)
        rows.append(
            [
                link(told["requestId"][:12], addresses.compression(told["requestId"]), class_="id"),
                told["componentId"] or figures.DASH,
                state_badge(told["step"].lower()),
                state_badge(told["verdict"]) if "verdict" in told else figures.DASH,
                f"{told['totalTokenReduction']:,} tokens" if told.get("totalTokenReduction") else figures.DASH,
                moment(told["createdAt"]),
            ]
        )
    listed = table("Attempts", _COMPRESSIONS, rows, numeric=["Saved a run"]) if rows else empty("None yet.")
    return join([listed, tag("div", *buttons, class_="buttons")])
