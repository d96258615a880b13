"""The MainLoop: a request under an experiment is answered by the prompt as the experiment's tag has it, strictly."""

from hashlib import sha256

import pytest

from tests.unit.evolution.world import APP, PARSE, World
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopRequest, MainLoopResult, RequestBudget
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore, SectionOverride
from uhlp.prompts.overrides.git_documents import GitDocuments
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.main_loop import MainLoop

TEXT = {"text": "3 pears"}
PEARS = {"quantity": 3, "product": "pears"}


class Parts:
    def __init__(self, world: World) -> None:
        self.world = world
        self.overrides = PromptOverridesStore(
            documents=GitDocuments(files=world.state, write=world.state.commit), clock=world.clock
        )
        self.loop = MainLoop(
            registry=world.registry,
            requests=ComponentRequests(registry=world.registry, router=world.router, clock=world.clock),
            executor=world.executor,
            overrides=self.overrides,
            clock=world.clock,
        )

    async def override(self, body: str, tag: str) -> None:
        prompt = self.world.registry.snapshot(APP).components[PARSE].prompt
        assert prompt is not None
        (section,) = prompt.sections
        edit = SectionOverride(path=(section.key,), expected_hash=section.sha256, body=body)
        await self.overrides.store(PromptDescriptor.of(APP, prompt), edit, tag=tag)
        await self.world.registry.refresh(APP)

    async def ask(self, experiment: Experiment | None = None, **fields) -> MainLoopResult:
        fields = {"app_id": APP, "component_id": PARSE, "input": TEXT, **fields}
        return await self.loop.execute(MainLoopRequest(experiment=experiment, **fields))


@pytest.fixture
def parts(world: World) -> Parts:
    return Parts(world)


async def test_the_prompt_of_the_tag_answers_and_its_digest_is_told(parts: Parts) -> None:
    await parts.override("Order line: {{ text }}", "shorter")
    plain, shorter = await parts.ask(Experiment(name="base")), await parts.ask(tagged("shorter"))
    assert plain.output == shorter.output == PEARS
    assert parts.world.model.prompts == ["Read this order line: 3 pears", "Order line: 3 pears"]
    assert plain.prompt_digest != shorter.prompt_digest
    assert (shorter.tokens_in, shorter.tokens_out, shorter.implementation) == (100, 10, "prompt@shorter")


async def test_what_is_stable_is_served_and_is_the_baseline(parts: Parts) -> None:
    await parts.override("Order line: {{ text }}", "stable")
    under_experiment = await parts.ask(Experiment(name="base"))
    assert under_experiment.prompt_digest == sha256(_served(parts)).hexdigest()
    assert (await parts.ask()).implementation == "prompt@stable"
    assert parts.world.model.prompts == ["Order line: 3 pears"] * 2


async def test_an_experiment_leaves_no_trace_in_windows_and_samples(parts: Parts) -> None:
    await parts.ask(Experiment(name="base"))
    assert parts.world.windows.window(APP, PARSE, 60).value("count", "requests") in (None, 0)
    assert await parts.world.samples.samples(APP, PARSE) == []
    await parts.ask()
    assert parts.world.windows.window(APP, PARSE, 60).value("count", "requests") == 1


async def test_a_missing_or_stale_tag_is_a_fault_and_nothing_is_asked(parts: Parts) -> None:
    assert _code(await parts.ask(tagged("gone"))) == "OVERRIDE_NOT_FOUND"
    await parts.override("Order line: {{ text }}", "shorter")
    await parts.override("Order line: {{ text }}", "stable")
    await parts.world.registry.apply_files(
        APP, {f"prompts/{PARSE}.yaml": b'template: "Another prompt: {{ text }}"\n'}, message="Change it"
    )
    assert _code(await parts.ask(tagged("shorter"))) == "OVERRIDE_CONFLICT"
    assert _code(await parts.ask(Experiment(name="base"))) == "OVERRIDE_CONFLICT"
    assert parts.world.model.asked == []


async def test_flags_are_variables_of_the_prompt(parts: Parts) -> None:
    await parts.world.registry.apply_files(
        APP,
        {f"prompts/{PARSE}.yaml": b'template: "{% if flags.brief %}Brief{% else %}Long{% endif %}: {{ text }}"\n'},
        message="Ask for a flag",
    )
    await parts.ask(Experiment(name="on", flags={"brief": True}))
    await parts.ask(Experiment(name="off", flags={"brief": False}))
    assert parts.world.model.prompts == ["Brief: 3 pears", "Long: 3 pears"]


async def test_a_budget_ends_what_takes_too_much(parts: Parts) -> None:
    parts.world.model.answer = lambda inputs: "no order line"
    result = await parts.ask(Experiment(name="base"), budget=RequestBudget(tokens=50))
    assert _code(result) == "BUDGET_EXHAUSTED"  # the first answer is against the schema, a second is not asked for
    assert len(parts.world.model.asked) == 1


async def test_faults_come_as_results(parts: Parts) -> None:
    assert _code(await parts.ask(component_id="nobody")) == "COMPONENT_NOT_FOUND"
    parts.world.model.is_down = True
    down = await parts.ask(Experiment(name="base"))
    assert _code(down) == "MODEL_PROVIDER_UNAVAILABLE"
    assert down.fault is not None
    assert (down.fault.is_retryable, down.fault.is_own) == (True, False)


@pytest.mark.parametrize("experiment", [None, Experiment(name="base")])
async def test_an_answer_of_no_use_is_the_components_own_fault(parts: Parts, experiment: Experiment | None) -> None:
    parts.world.model.answer = lambda inputs: "no order line"
    useless = await parts.ask(experiment)
    assert useless.fault is not None
    assert useless.fault.is_own


async def test_what_is_served_tells_what_it_took(parts: Parts) -> None:
    served = await parts.ask()
    assert (served.tokens_in, served.tokens_out) == (100, 10)
    assert served.cost_usd == (await parts.ask(Experiment(name="base"))).cost_usd


def tagged(tag: str) -> Experiment:
    return Experiment(name=tag, overrides_tag=tag)


def _code(result: MainLoopResult) -> str:
    assert result.fault is not None
    return result.fault.code


def _served(parts: Parts) -> bytes:
    artifact = parts.world.registry.snapshot(APP).components[PARSE].prompt_artifact
    assert artifact is not None
    return artifact.content
