"""The panel's pages of runs, prompts, attempts to shorten them, and evaluations, with hostile texts."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.execution.workflow.workflow_parts import (
    Parts,
    ScriptedComponents,
    WaitForCallback,
    app_of,
    ask,
    expression,
    running,
    sequence,
)
from uhlp.errors import PermissionDenied, UhlpError
from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.evals.eval_record import EvalFigures, EvalOrder, EvalRecord, SampleVerdict
from uhlp.evals.eval_runs import EvalRuns
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox
from uhlp.models.definition import AppDefinition
from uhlp.optimization.compress import EditVerdict, OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.optimization_report import ArmFigures, Certificate
from uhlp.optimization.compress.optimize_run import OptimizeRun, OptimizeRuns, Step
from uhlp.optimization.compress.strategy import edit_of
from uhlp.prompts.overrides import PromptOverridesStore, SectionOverride
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.web.services import Services
from web.panel_pages import HOSTILE, OWNER, VIEWER, HostileEvolution, html_of, page_of, text_of
from web.stores import stored_services

COMPONENT = """
components:
  - componentId: order
    taskDetails: {prompt_template: order}
    routeMatcher: {pathPattern: /orders, methods: [POST]}
"""
HOSTILE_YAML = HOSTILE.replace("'", "''")
PATHS = [
    "/workflows",
    "/workflows/shop/RUN",
    "/apps/shop/prompts/order",
    "/apps/shop/evals",
    "/apps/shop/evals/e-1",
    "/compressions/r-1",
]
ROOT = sequence(
    ("price", ask("pricing", item="=trigger.input.item", card="=trigger.input.card")),
    ("paid", WaitForCallback("paid", expression("trigger.input.item"), 3_600.0)),
)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Services]:
    """A prompt with an override, an attempt to shorten it, two evaluations of it, and a run that waits."""
    components = ScriptedComponents(pricing={"say": HOSTILE, "card": "4111"})
    async with (
        running(Parts(tmp_path / "w.db", app_of(ROOT), components=components)) as parts,
        stored_services(tmp_path, workflows=parts.runs, evolution=HostileEvolution()) as services,
    ):
        values, registry, clock = services.state.framework, services.registry, services.clock
        prompts = RegisteredPrompts(registry=registry)
        overrides = PromptOverridesStore(documents=RuntimeDocuments(values=values, clock=clock), clock=clock)
        datasets = ComponentDatasets(registry=registry, samples=services.samples)
        eval_runs = EvalRuns(evaluation=None, datasets=datasets, values=values, clock=clock)  # type: ignore[arg-type]
        optimize_runs = OptimizeRuns(values=values)
        mailbox = InMemoryMailbox(name="optimize", body=OptimizeRequest, reply=OptimizeResult, clock=clock)
        files = {
            "component_registry.yaml": COMPONENT.encode(),
            "prompts/order.yaml": f"sections:\n  - {{key: rules, body: 'Be kind. {HOSTILE_YAML}'}}\n".encode(),
        }
        await registry.register_application(AppDefinition(app_id="shop"), files=files, actor="olga")
        prompt = prompts.get("shop", "order")
        for body in (f"Be brief. {HOSTILE}", f"Be quick. {HOSTILE}"):
            section = prompt.sections[0]
            override = SectionOverride(path=("rules",), expected_hash=section.sha256, body=body)
            await overrides.put(prompt, [override], provenance={"actor": "olga", "reason": HOSTILE})
        await optimize_runs.begin(_attempt(prompt.sections[0].body, prompt.sections[0].sha256))
        for place, score in (("e-1", 0.25), ("e-2", 1.0)):
            record = _evaluation(place, score, clock.now() + score)
            await values.set(f"evals:shop:{place}", record.model_dump(mode="json", by_alias=True))
        run_id = await parts.runs.start(parts.call({"item": HOSTILE, "card": "4111"}))
        for _ in range(500):
            if (await parts.runs.history.record("shop", run_id)).state == "waiting":
                break
            await parts.runs.run_cycle()
        try:
            yield replace(
                services, prompts=prompts, overrides=overrides, datasets=datasets, eval_runs=eval_runs,
                optimize_runs=optimize_runs, optimize_requests=mailbox, strategies=("deterministic",),
            )  # fmt: skip
        finally:
            await mailbox.aclose()


def _attempt(body: str, digest: str) -> OptimizeRun:
    before, after = ArmFigures(n=40, passed=38, tokens_in=100.0), ArmFigures(n=40, passed=39, tokens_in=80.0)
    edits = (
        EditVerdict(
            edit=edit_of("rules", body, digest, f"Kind. {HOSTILE}", strategy="llm"), original_body=body,
            outcome="regressed", reason=HOSTILE, baseline=before, candidate=after, difference=0.025, lost=(HOSTILE,),
        ),
    )  # fmt: skip
    request = OptimizeRequest(prompt_ns="shop", prompt_key="order", component_id="order", request_id="r-1")
    certificate = Certificate(
        baseline=before, candidate=after, difference=0.025, at_least=-0.01, is_accepted=True, reason=HOSTILE
    )
    return OptimizeRun(
        request=request, experiment_id="r-1", step=Step.CONFIRM, edits=edits, certificate=certificate, reason=HOSTILE
    )


def _evaluation(place: str, score: float, at: float) -> EvalRecord:
    verdict = SampleVerdict(
        id=f"s-{HOSTILE}", score=score, runs=1, passed=int(score), reason=HOSTILE, output=f'"{HOSTILE}"'
    )
    return EvalRecord(
        id=place, app_id="shop", order=EvalOrder(component_id="order"), state="done", created_at=at,
        figures=EvalFigures(asked=1, n=1, ok=1, passed=int(score), pass_rate=float(int(score)), mean_score=score),
        dataset_digest="d" * 64, verdicts=(verdict,),
    )  # fmt: skip


async def path_of(path: str, shop: Services) -> str:
    (run,) = await shop.workflows.history.listed("shop")
    return path.replace("RUN", run["executionId"])


@pytest.mark.parametrize("path", [*PATHS, "/apps/shop", "/apps/shop/components/order"])
async def test_no_text_from_elsewhere_becomes_html(shop: Services, path: str) -> None:
    html = await html_of(await path_of(path, shop), shop, **{"from": "e-1", "to": "e-2"} if "evals" in path else {})
    assert "<img" not in html
    assert "could not be read" not in html


@pytest.mark.parametrize("path", PATHS)
async def test_viewers_look_and_are_refused_every_change(shop: Services, path: str) -> None:
    address = await path_of(path, shop)
    assert "data-action" not in await html_of(address, shop, administrator=VIEWER)
    page = await page_of(address, shop, VIEWER)
    for name in page.actions:
        with pytest.raises(PermissionDenied):
            await page.act(VIEWER, {"action": name, "fields": {"reason": "because"}})


async def test_a_run_shows_its_steps_what_answered_and_what_it_waits_for_and_is_masked(shop: Services) -> None:
    text = await text_of(await path_of("/workflows/shop/RUN", shop), shop)
    for said in ("waiting", "price", "jit@v1", "$0.25", "waits for paid", "1 in, 2 out"):
        assert said in text, said
    assert "4111" not in text
    assert "shop / order" in await text_of("/workflows", shop)
    assert "No run is in this state" in await text_of("/workflows", shop, state="failed")
    assert (await page_of("/workflows", shop, state="lost")).status == 400


async def test_a_run_is_cancelled_by_name_and_with_a_reason(shop: Services) -> None:
    address = await path_of("/workflows/shop/RUN", shop)
    page = await page_of(address, shop)
    await page.act(OWNER, {"action": "cancel", "fields": {"reason": "a wrong order"}})
    text = await text_of(address, shop)
    assert "Cancelled by olga: a wrong order" in text
    with pytest.raises(UhlpError, match="already"):
        await page.act(OWNER, {"action": "cancel", "fields": {"reason": "again"}})


async def test_a_prompt_shows_what_its_overrides_change_and_puts_an_earlier_set_back(shop: Services) -> None:
    text = await text_of("/apps/shop/prompts/order", shop)
    for said in ("overridden in service", "+Be quick.", "-Be kind.", "2 versions", "by olga"):
        assert said in text, said
    first = (await shop.overrides.history(ns="shop", prompt_key="order", tag="stable"))[1]
    page = await page_of("/apps/shop/prompts/order", shop)
    fields = {"tag": "stable", "revision": first.revision, "reason": "it was better"}
    with pytest.raises(UhlpError, match="reason"):
        await page.act(OWNER, {"action": "restore", "fields": {**fields, "reason": ""}})
    await page.act(OWNER, {"action": "restore", "fields": fields})
    assert "+Be brief." in await text_of("/apps/shop/prompts/order", shop)
    await page.act(OWNER, {"action": "restore", "fields": {**fields, "revision": ""}})
    assert "source and stable say the same" in await text_of("/apps/shop/prompts/order", shop)
    unknown = await text_of("/apps/shop/prompts/order", shop, **{"from": "stabel"})
    assert "no overrides under the tag stabel; did you mean `stable`?" in unknown
    assert "Compare" in unknown


async def test_an_attempt_to_shorten_a_prompt_is_begun_shown_with_its_figures_and_ended(shop: Services) -> None:
    page = await page_of("/apps/shop/prompts/order", shop)
    await shop.registry.apply_files(
        "shop", {"evals/order.jsonl": b'{"id": "a", "input": {}, "expected": 1}\n'}, message="Know"
    )
    told = await page.act(OWNER, {"action": "compress", "fields": {"strategies": "deterministic"}})
    assert "on its way" in told
    assert {one.request.strategies for one in await shop.optimize_runs.all_of("shop")} == {(), ("deterministic",)}
    text = await text_of("/compressions/r-1", shop)
    for said in ("regressed", "20 tokens a run, measured", "95.0 %", "97.5 %", "at least -1.0", "accepted", "+Kind."):
        assert said in text, said
    await (await page_of("/compressions/r-1", shop)).act(OWNER, {"action": "cancel", "fields": {}})
    assert await shop.optimize_runs.is_cancelled("r-1")


async def test_an_evaluation_is_cancelled_while_it_is_not_over(shop: Services) -> None:
    await shop.registry.apply_files(
        "shop", {"evals/order.jsonl": b'{"id": "a", "input": {}, "expected": 1}\n'}, message="Know"
    )
    made = await shop.eval_runs.order("shop", EvalOrder(component_id="order"))
    address = f"/apps/shop/evals/{made.id}"
    assert 'data-action="cancel"' in await html_of(address, shop)
    told = await (await page_of(address, shop)).act(OWNER, {"action": "cancel", "fields": {}})
    assert "so far" in told
    html = await html_of(address, shop)
    assert ("cancelled" in html, 'data-action="cancel"' in html) == (True, False)


async def test_evaluations_are_listed_compared_and_begun(shop: Services) -> None:
    assert "Two that are done" not in await text_of("/apps/shop/evals", shop)
    text = await text_of("/apps/shop/evals", shop, **{"from": "e-1", "to": "e-2"})
    for said in ("same samples", "0.25", "Better1", "Worse0"):
        assert said in text, said
    assert "has no evaluation" in await text_of("/apps/shop/evals", shop, **{"from": "gone", "to": "e-2"})
    page = await page_of("/apps/shop/evals", shop, component="order")
    with pytest.raises(UhlpError, match="no samples"):
        await page.act(OWNER, {"action": "evaluate", "fields": {"component": "order"}})
    assert "0 of 1 answered" in await text_of("/apps/shop/evals/e-1", shop)
