"""Runs of workflows, their steps asked of scripted components."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import (
    END,
    FormatResponse,
    Loop,
    Parallel,
    Parts,
    Retries,
    ScriptedComponents,
    Subworkflow,
    Transition,
    WaitForCallback,
    app_of,
    ask,
    block,
    expression,
    mapping,
    plan_of,
    running,
    sequence,
    step,
    tool,
)
from uhlp.errors import (
    DeadlineExceeded,
    ExpressionFailed,
    HandlerFailed,
    ModelProviderUnavailable,
    OutputInvalid,
    TooManyRuns,
    WorkflowFailed,
)
from uhlp.execution.workflow.interpreter import STEPS_AT_A_TIME
from uhlp.execution.workflow.journal_table import select_run, select_runs, select_steps
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.step_calls import told_error
from uhlp.workflows import Branch


def order_plan():
    return sequence(
        ("price", ask("pricing", item="=trigger.input.item")),
        ("charge", ask("charging", usd="=steps.price.output.usd * 2.0")),
        (
            "told",
            FormatResponse("generic", mapping({"charged": "=steps.charge.output", "run": "=workflow.workflowId"})),
        ),
    )


async def test_steps_are_ordinary_requests_and_their_outputs_flow_on(tmp_path):
    components = ScriptedComponents(pricing={"usd": 3.5}, charging="ok")
    async with running(Parts(tmp_path / "w.db", app_of(order_plan()), components=components)) as parts:
        result = await parts.runs.answer(parts.call())
        assert result.data == {"charged": "ok", "run": "order"}
        price, charge = components.asked
        assert (price.input, charge.input) == ({"item": "lamp"}, {"usd": 7.0})
        assert charge.details == {
            "workflowInfo": {"workflowId": "order", "stepId": "charge"}, "executionId": result.execution_id,
            "idempotencyKey": f"{result.execution_id}:charge", "attempt": 1,
        }  # fmt: skip
        steps = await parts.journal.ask(lambda db: select_steps(db, result.execution_id))
        assert [(one.path, one.state, one.implementation) for one in steps] == [
            ("price", "succeeded", "jit@v1"), ("charge", "succeeded", "jit@v1"), ("told", "succeeded", None),
        ]  # fmt: skip
        assert (steps[0].tokens_in, steps[0].tokens_out, steps[0].cost_usd) == (1, 2, 0.25)
        assert steps[0].input == {"item": "lamp"}


async def test_a_step_is_tried_again_after_its_pause_only_for_errors_that_say_so(tmp_path):
    answers = iter([ModelProviderUnavailable(), ModelProviderUnavailable(), {"usd": 1.0}, HandlerFailed()])
    components = ScriptedComponents(pricing=lambda asked: next(answers))
    root = sequence(("price", ask("pricing")), retries=Retries(max_attempts=3, initial_s=10.0))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        answered = asyncio.create_task(parts.runs.answer(parts.call()))
        await parts.until(lambda: len(components.asked) == 1)
        parts.clock.advance(9.9)
        await parts.runs.run_cycle()
        assert len(components.asked) == 1
        parts.clock.advance(0.2)
        await parts.until(lambda: len(components.asked) == 2)
        parts.clock.advance(20.1)
        assert (await asyncio.wait_for(asyncio.shield(_cycling(parts, answered)), 30)).data == {"usd": 1.0}
        assert {one.details["idempotencyKey"] for one in components.asked} == {
            components.asked[0].details["idempotencyKey"]
        }
        with pytest.raises(HandlerFailed):
            await parts.runs.answer(parts.call())
        assert len(components.asked) == 4


async def _cycling(parts, answered):
    await parts.until(answered.done)
    return await answered


async def test_retry_on_names_the_codes(tmp_path):
    answers = iter([HandlerFailed(), ModelProviderUnavailable()])
    components = ScriptedComponents(pricing=lambda asked: next(answers))
    retries = Retries(max_attempts=5, initial_s=0.0, retry_on=frozenset({"HANDLER_FAILED"}))
    root = sequence(("price", ask("pricing")), retries=retries)
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        with pytest.raises(ModelProviderUnavailable) as raised:
            await parts.runs.answer(parts.call())
        assert len(components.asked) == 2
        assert raised.value.details["executionId"]


async def test_an_expression_that_fails_says_in_which_step_it_stands(tmp_path):
    body = sequence(("price", ask("pricing", item="=item.sku")))
    root = sequence(("items", Loop(3, body, over=expression("trigger.input.items"))))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents())) as parts:
        with pytest.raises(ExpressionFailed, match=r"Step price: .*`item.sku`.*no field `sku` in item") as raised:
            await parts.runs.answer(parts.call({"items": [{}]}))
        assert raised.value.details["stepId"] == "price"
        assert raised.value.details["expression"] == "item.sku"


async def test_a_run_that_would_wait_for_what_no_callback_brings_fails_at_once(tmp_path):
    root = sequence(("paid", WaitForCallback("paid", expression("trigger.input.order"), 3_600.0)))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents())) as parts:
        with pytest.raises(ExpressionFailed, match="257 characters, and no callback brings more than 256"):
            await parts.runs.answer(parts.call({"order": "o" * 257}))


async def test_a_failure_goes_the_way_that_takes_it(tmp_path):
    components = ScriptedComponents(pricing=HandlerFailed("no such item"), apologise={"sorry": True})
    root = block(
        step(
            "price", ask("pricing"), "unreached",
            on_failure=(
                Transition(None, codes=frozenset({"OTHER"})),
                Transition("sorry", condition=expression('error.code == "HANDLER_FAILED" && !error.retryable')),
            ),
        ),
        step("unreached", ask("pricing")),
        step("sorry", ask("apologise", why="=steps.price.error.message")),
    )  # fmt: skip
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        assert (await parts.runs.answer(parts.call())).data == {"sorry": True}
        assert components.asked[-1].input == {"why": "no such item"}


async def test_an_error_code_of_the_plan_is_a_failed_workflow(tmp_path):
    components = ScriptedComponents(pricing={"usd": 1})
    root = block(step("price", ask("pricing"), "price", max_visits=3))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        with pytest.raises(WorkflowFailed, match="VISITS_EXHAUSTED") as raised:
            await parts.runs.answer(parts.call())
        assert raised.value.details["failure"] == "VISITS_EXHAUSTED"
        assert components.order == ["pricing"] * 3
        run = await parts.journal.ask(lambda db: select_run(db, "shop", raised.value.details["executionId"]))
        assert run.state == "failed"


async def test_branches_go_where_their_first_true_case_says(tmp_path):
    components = ScriptedComponents(cheap="cheap", dear="dear")
    cases = (Transition("dear", expression("trigger.input.usd > 10")), Transition("cheap"))
    root = block(step("which", Branch(), on_success=cases), step("cheap", ask("cheap")), step("dear", ask("dear")))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        assert (await parts.runs.answer(parts.call({"usd": 11}))).data == "dear"
        assert (await parts.runs.answer(parts.call({"usd": 1}))).data == "cheap"
        with pytest.raises(ExpressionFailed, match="usd") as raised:
            await parts.runs.answer(parts.call({"eur": 1}))
        assert raised.value.details["executionId"]
        assert raised.value.details["stepId"] == "which"


async def test_a_loop_runs_its_body_for_each_element_and_stops_at_its_bound(tmp_path):
    components = ScriptedComponents(pricing=lambda asked: asked.input["item"] * 2)
    body = sequence(("price", ask("pricing", item="=item + index")))
    root = sequence(("items", Loop(3, body, over=expression("trigger.input.items"))))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        result = await parts.runs.answer(parts.call({"items": [1, 2, 3]}))
        assert result.data == [2, 6, 10]
        assert [one.details["idempotencyKey"].partition(":")[2] for one in components.asked] == [
            "price:0", "price:1", "price:2",
        ]  # fmt: skip
        steps = await parts.journal.ask(lambda db: select_steps(db, result.execution_id))
        assert [one.path for one in steps] == ["items", "items[0]/price", "items[1]/price", "items[2]/price"]
        with pytest.raises(WorkflowFailed, match="ITERATIONS_EXHAUSTED"):
            await parts.runs.answer(parts.call({"items": [1, 2, 3, 4]}))
        assert len(components.asked) == 3


async def test_a_loop_goes_on_while_its_condition_holds_with_what_the_last_iteration_left(tmp_path):
    components = ScriptedComponents(poll=lambda asked: {"done": asked.input["index"] == 2})
    body = sequence(("poll", ask("poll", index="=index")))
    condition = expression('steps.poll.status == "not_run" || !steps.poll.output.done')
    root = sequence(("polling", Loop(5, body, condition=condition)))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        result = await parts.runs.answer(parts.call())
        assert result.data == [{"done": False}, {"done": False}, {"done": True}]


async def test_parallel_branches_run_beside_each_other_within_their_bound(tmp_path):
    at_once, most = 0, 0

    async def slow(asked):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        await asyncio.sleep(0.005)
        at_once -= 1
        return asked.input["n"]

    components = ScriptedComponents(work=slow)
    branches = {name: sequence((f"work_{name}", ask("work", n=name))) for name in "abcd"}
    root = sequence(("all", Parallel(branches, "all", 2)))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        result = await parts.runs.answer(parts.call())
        assert result.data == {"a": "a", "b": "b", "c": "c", "d": "d"}
        assert most == 2


async def test_the_first_failure_of_all_and_the_first_success_of_any_cancel_the_others(tmp_path):
    left = asyncio.Event()

    async def never(asked):
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    components = ScriptedComponents(never=never, bad=HandlerFailed("broken"), good="good")
    both = {"slow": sequence(("never", ask("never"))), "quick": sequence(("bad", ask("bad")))}
    one = {
        "slow": sequence(("never", ask("never"))), "bad": sequence(("bad", ask("bad"))),
        "good": sequence(("good", ask("good"))),
    }  # fmt: skip
    async with running(
        Parts(tmp_path / "all.db", app_of(sequence(("p", Parallel(both, "all", 9)))), components=components)
    ) as parts:
        with pytest.raises(HandlerFailed, match="broken") as raised:
            await parts.runs.answer(parts.call())
        assert left.is_set()
        run_id = raised.value.details["executionId"]
        states = {one.path: one.state for one in await parts.journal.ask(lambda db: select_steps(db, run_id))}
        assert states == {"p": "failed", "p.slow/never": "cancelled", "p.quick/bad": "failed"}
    async with running(
        Parts(tmp_path / "any.db", app_of(sequence(("p", Parallel(one, "any", 9)))), components=components)
    ) as parts:
        assert (await parts.runs.answer(parts.call())).data == {"good": "good"}


async def test_a_subworkflow_has_its_own_steps_and_trigger_within_the_run(tmp_path):
    components = ScriptedComponents(pricing={"usd": 2})
    inner = plan_of(
        sequence(("price", ask("pricing", thing="=trigger.input.thing", of="=workflow.workflowId"))), "pricing"
    )
    root = sequence(("sub", Subworkflow("pricing", mapping({"thing": "=trigger.input.item"}))))
    app = app_of(root, others=(inner,))
    async with running(Parts(tmp_path / "w.db", app, components=components)) as parts:
        result = await parts.runs.answer(parts.call())
        assert result.data == {"usd": 2}
        (asked,) = components.asked
        assert asked.input == {"thing": "lamp", "of": "pricing"}
        assert asked.details["idempotencyKey"] == f"{result.execution_id}:sub/price"
        assert asked.details["workflowInfo"] == {"workflowId": "pricing", "stepId": "price"}


async def test_a_tool_is_called_in_the_name_of_the_workflows_component(tmp_path):
    components = ScriptedComponents()
    root = sequence(("stock", tool("community.store.stock", item="=trigger.input.item")))
    app = app_of(root, tools=["community.store.*"])
    parts = Parts(tmp_path / "w.db", app, components=components)
    parts.tools.answers["stock"] = {"content": [], "structuredContent": {"left": 3}, "isError": False}
    async with running(parts):
        result = await parts.runs.answer(parts.call())
        assert result.data == {"left": 3}
        ((name, params, context),) = parts.tools.asked
        assert (name, params) == ("community.store.stock", {"item": "lamp"})
        assert (context.component_id, context.allowed_tools) == ("order", ("community.store.*",))
        assert context.idempotency_key == f"{result.execution_id}:stock"


async def test_a_step_that_takes_longer_than_its_time_fails(tmp_path):
    async def never(asked):
        await asyncio.Event().wait()

    components = ScriptedComponents(never=never, late="late")
    root = block(
        step(
            "slow",
            ask("never"),
            timeout_s=0.02,
            on_failure=(Transition("late", codes=frozenset({"DEADLINE_EXCEEDED"})),),
        ),
        step("late", ask("late")),
    )
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        assert (await parts.runs.answer(parts.call())).data == "late"


async def test_a_run_that_takes_longer_than_its_time_is_cancelled_with_its_steps(tmp_path):
    left = asyncio.Event()

    async def never(asked):
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    components = ScriptedComponents(never=never)
    root = sequence(("slow", ask("never")), on_failure=(END,))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        with pytest.raises(DeadlineExceeded) as raised:
            await parts.runs.answer(parts.call(timeout_s=0.5))  # time enough to reach the step
        assert left.is_set()
        run = await parts.journal.ask(lambda db: select_run(db, "shop", raised.value.details["executionId"]))
        assert (run.state, run.error["code"]) == ("cancelled", "DEADLINE_EXCEEDED")


async def test_a_client_that_leaves_cancels_its_run(tmp_path):
    reached = asyncio.Event()

    async def never(asked):
        reached.set()
        await asyncio.Event().wait()

    root = sequence(("slow", ask("never")))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents(never=never))) as parts:
        asking = asyncio.create_task(parts.runs.answer(parts.call()))
        await asyncio.wait_for(reached.wait(), 30)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        (run,) = await parts.journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9))
        assert (run.state, run.error["code"]) == ("cancelled", "RUN_CANCELLED")
        assert parts.runs.open_runs == 0


async def test_a_step_fails_when_something_that_it_waited_for_was_cancelled(tmp_path):
    async def cancelled(asked):
        raise asyncio.CancelledError

    root = block(step("one", ask("cancelled"), on_failure=(Transition("two"),)), step("two", ask("last")))
    components = ScriptedComponents(cancelled=cancelled, last="told")
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        assert (await parts.runs.answer(parts.call())).data == "told"


async def test_an_answer_that_breaks_the_components_promise_is_refused(tmp_path):
    from dataclasses import replace

    from uhlp.jsonschemas import compile_validator

    app = app_of(sequence(("price", ask("pricing"))))
    validator = compile_validator({"type": "object"})
    component = replace(app.components["order"], output_validator=validator)
    app = replace(app, components={"order": component})
    async with running(Parts(tmp_path / "w.db", app, components=ScriptedComponents(pricing="text"))) as parts:
        with pytest.raises(OutputInvalid):
            await parts.runs.answer(parts.call())


async def test_formats_of_answers_are_those_of_the_last_step(tmp_path):
    answers = {
        "redirect": FormatResponse(
            "httpResponse", mapping(None), mapping(303), mapping({"location": "=trigger.input.item"})
        ),
        "refusal": FormatResponse("error", mapping({"code": "SOLD_OUT", "message": "no more"}), mapping(409)),
    }
    results = {}
    for name, action in answers.items():
        app = app_of(sequence((name, action)))
        async with running(Parts(tmp_path / f"{name}.db", app, components=ScriptedComponents())) as parts:
            results[name] = await parts.runs.answer(parts.call())
    assert results["redirect"].result_type == "httpResponse"
    assert results["redirect"].data == {"statusCode": 303, "headers": {"location": "lamp"}, "body": None}
    assert results["refusal"].result_type == "error"
    assert results["refusal"].data == {"code": "SOLD_OUT", "message": "no more", "statusCode": 409}


async def test_a_large_output_fails_its_step(tmp_path):
    components = ScriptedComponents(pricing="x" * 20_000)
    root = block(step("price", ask("pricing"), on_failure=(END,)))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        result = await parts.runs.answer(parts.call())
        (kept,) = await parts.journal.ask(lambda db: select_steps(db, result.execution_id))
        assert (result.data, kept.state, kept.error["code"]) == (None, "failed", "PAYLOAD_TOO_LARGE")


def test_what_a_component_calls_its_error_is_kept_in_bounds():
    error = told_error({"code": "X" * 100_000, "message": "y" * 100_000, "details": {"z": "z" * 100_000}}).error
    assert (len(error["code"]), len(error["message"]), error["details"]) == (200, 1_000, {})


async def test_a_run_is_bounded_in_its_steps_and_in_what_it_holds(tmp_path):
    components = ScriptedComponents(small=1, large="x" * 9_000)
    for name, code in (("small", "STEPS_EXHAUSTED"), ("large", "PAYLOAD_TOO_LARGE")):
        root = sequence(("all", Loop(1_000, sequence((name, ask(name))), over=expression("trigger.input.items"))))
        bounds = {"most_steps": 100, "max_run_bytes": 50_000}
        async with running(Parts(tmp_path / f"{name}.db", app_of(root), components=components, **bounds)) as parts:
            with pytest.raises(WorkflowFailed, match=code):
                await parts.runs.answer(parts.call({"items": list(range(200))}))
    assert (components.order.count("small"), components.order.count("large")) == (99, 6)


async def test_an_application_may_have_so_many_open_runs(tmp_path):
    gate = asyncio.Event()

    async def wait(asked):
        await gate.wait()
        return 1

    root = sequence(("slow", ask("wait")))
    parts = Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents(wait=wait), most_open_runs=2)
    async with running(parts):
        first = [await parts.runs.start(parts.call()) for _ in range(2)]
        with pytest.raises(TooManyRuns):
            await parts.runs.start(parts.call())
        gate.set()
        await parts.until(lambda: parts.runs.open_runs == 0)
        runs = [await parts.journal.ask(lambda db, one=one: select_run(db, "shop", one)) for one in first]
        assert [(run.state, run.result) for run in runs] == [("succeeded", 1), ("succeeded", 1)]


async def test_fifty_runs_beside_each_other_keep_their_values_apart(tmp_path):
    components = ScriptedComponents(
        pricing=lambda asked: {"usd": float(asked.input["item"])}, charging=lambda a: a.input
    )
    async with running(Parts(tmp_path / "w.db", app_of(order_plan()), components=components)) as parts:
        results = await asyncio.gather(*(parts.runs.answer(parts.call({"item": n})) for n in range(50)))
        assert [one.data["charged"] for one in results] == [{"usd": n * 2.0} for n in range(50)]


class CountingJournal(RunJournal):
    appended = 0

    def append(self, entry):
        self.appended += 1
        super().append(entry)


async def test_a_run_that_only_computes_lets_others_go_on(tmp_path):
    body = sequence(("count", FormatResponse("generic", mapping("=index"))))
    root = sequence(("many", Loop(400, body, condition=expression("index < 400"))))
    journal = CountingJournal(tmp_path / "w.db")
    seen = [0]

    async def see_how_far_it_is():
        while True:
            await asyncio.sleep(0)
            seen.append(journal.appended)

    app = app_of(root)
    async with running(Parts(tmp_path / "w.db", app, components=ScriptedComponents(), journal=journal)) as parts:
        others = asyncio.create_task(see_how_far_it_is())
        result = await parts.runs.answer(parts.call())
        others.cancel()
    assert result.data == list(range(400))
    at_once = max(later - before for before, later in pairwise(seen))
    assert at_once <= 2 * 2 * STEPS_AT_A_TIME + 2  # a step begins and ends; two turns may follow each other


async def test_what_steps_nest_deeper_than_an_answer_may_fails_them_and_nothing_else(tmp_path):
    def nested(source: str) -> Any:
        value: Any = source
        for _ in range(60):
            value = [value]
        return value

    root = block(
        step("a", FormatResponse("generic", mapping(nested("=trigger.input.item"))), "b"),
        step("b", FormatResponse("generic", mapping(nested("=steps.a.output"))), on_failure=(Transition("c"),)),
        step("c", ask("work", x=nested("=steps.a.output"))),
    )
    components = ScriptedComponents(work=lambda asked: asked.input)
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        with pytest.raises(WorkflowFailed, match="INPUT_INVALID: "):
            await parts.runs.answer(parts.call())
        (run,) = await parts.journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9))
        steps = await parts.journal.ask(lambda db: select_steps(db, run.run_id))
        assert [(one.path, one.error and one.error["code"]) for one in steps] == [
            ("a", None), ("b", "OUTPUT_INVALID"), ("c", "INPUT_INVALID"),
        ]  # fmt: skip
        assert components.asked == []


async def test_a_step_has_its_own_time_and_no_more_than_its_run_has_left(tmp_path):
    components = ScriptedComponents(first="one", second="two")
    root = block(step("a", ask("first"), "b", timeout_s=2.0), step("b", ask("second"), timeout_s=500.0))
    parts = Parts(tmp_path / "w.db", app_of(root), components=components)
    components.answers["first"] = lambda asked: parts.clock.advance(1.5)
    async with running(parts):
        await parts.runs.answer(parts.call(timeout_s=20.0))
    assert [asked.timeout_s for asked in components.asked] == [2.0, 18.5]
