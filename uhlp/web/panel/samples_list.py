"""The newest samples of a component, and saying what would have been right."""

from uhlp.traffic.samples import Sample
from uhlp.web.panel import figures, requests
from uhlp.web.panel.markup import Markup, badge, details, empty, join, mono, tag, when
from uhlp.web.panel.page import Action, Fields, Visit
from uhlp.web.panel.waiting_list import expected_of, side_by_side, verdict_buttons

SHOWN = 10


def adjudicate_sample_action(visit: Visit, app_id: str) -> Action:
    async def adjudicate(fields: Fields) -> str:
        await visit.services.evolution.adjudicate_sample(
            app_id,
            fields.get("sample", ""),
            expected=expected_of(fields),
            actor=visit.actor,
            reason=fields.get("reason", ""),
        )
        return "Noted: it is the reference for this input from now on."

    return Action(requests.ADJUDICATE_SAMPLE, adjudicate)


async def samples_list(visit: Visit, app_id: str, component_id: str) -> Markup:
    """The newest few, as they are kept (redacted); the counts cover all."""
    samples = visit.services.samples
    found = await samples.samples(app_id, component_id, ok=None, limit=SHOWN)
    if not found:
        return empty("No samples yet.", "Every answered request leaves one.")
    counts = await samples.counts(app_id, component_id)
    told = (
        f"{counts.total:,} are kept: {counts.train:,} that proposers may see, {counts.held_out:,} that they never see, "
        f"{counts.failed:,} failed."
    )
    return join([tag("p", told), *(_sample(visit, one) for one in found)])


def _sample(visit: Visit, one: Sample) -> Markup:
    side = "proposers may see it" if one.split == "train" else "held out"
    summary = tag(
        "span",
        when(one.ts),
        " ",
        mono(one.implementation),
        " ",
        figures.milliseconds(one.latency_ms),
        " ",
        badge("ok", "good") if one.ok else badge("failed", "bad"),
        tag("span", f" {side}", class_="quiet"),
    )
    answers = [("Output", one.output)]
    buttons = verdict_buttons(
        visit,
        {"sample": one.id},
        answers if one.ok else [],
        action="adjudicate-sample",
        request=requests.ADJUDICATE_SAMPLE,
    )
    return details(
        summary, side_by_side([("Input", one.input), *answers], one.id[:12]), buttons, key=f"sample-{one.id}"
    )
