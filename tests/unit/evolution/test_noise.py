"""A/A: how often the model disagrees with itself, found with as few calls as it takes."""

from random import Random
from typing import Any

import pytest

from tests.unit.evolution.world import APP, CONFIG, PARSE, World, coder_answer, lines
from uhlp.clock import FakeClock
from uhlp.evals.comparator import Comparator
from uhlp.evolution.config_sections import NoiseConfig
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.noise import FULL_SAMPLE, NoiseReport, measure_noise
from uhlp.evolution.reference import Dispute
from uhlp.traffic.samples import Sample
from uhlp.traffic.split import input_hash, split_of


def sample(number: int, output: Any = "a") -> Sample:
    value = {"n": number}
    hashed = input_hash(value)
    return Sample(
        id=str(number), app_id="a", component_id="c", ts=0.0, input=value, output=output, implementation="p",
        handler="llm", latency_ms=1.0, tokens_in=0, tokens_out=0, cost_usd=None, ok=True, trace_id="", source="live",
        spec_hash="s", input_hash=hashed, split=split_of(hashed),
    )  # fmt: skip


class NoisyReference:
    """A model that answers "a", and at a rate something else."""

    def __init__(self, rate: float, seed: int = 1, fails: float = 0.0) -> None:
        self.rate, self.fails, self.calls, self._random = rate, fails, 0, Random(seed)

    async def model_answer(self, app: Any, component: Any, value: Any, *, spending: Spending) -> Any:
        self.calls += 1
        spending.add(tokens_in=10, tokens_out=1, usd=0.001)
        if self._random.random() < self.fails:
            raise MeasurementFailed("down")
        return self._random.random() if self._random.random() < self.rate else "a"

    async def agree(self, dispute: Dispute) -> bool:
        return dispute.comparator.equal(dispute.first, dispute.got)


async def measured(rate: float, samples: list[Sample] | None = None, **reference: Any) -> tuple[NoiseReport, Any]:
    model = NoisyReference(rate, **reference)
    report = await measure_noise(
        model, None, None, samples or [sample(number) for number in range(300)], Comparator({}),  # type: ignore[arg-type]
        config=NoiseConfig(), spending=Spending(),
    )  # fmt: skip
    return report, model


async def test_a_model_that_agrees_with_itself_is_found_out_after_36_calls() -> None:
    report, model = await measured(0.0)
    assert (report.verdict, report.disagreed, report.is_noise(0.1)) == ("accept", 0, False)
    assert report.n == model.calls
    assert report.n <= 40


async def test_one_that_never_does_is_found_out_after_a_few() -> None:
    report, model = await measured(1.0)
    assert (report.verdict, report.is_noise(0.1)) == ("reject", True)
    assert model.calls <= 8


@pytest.mark.parametrize(("rate", "refused", "most_calls"), [(0.025, (0, 0.02), 90), (0.05, (0, 0.06), 155),
                                                             (0.25, (0.95, 1), 110), (0.5, (1, 1), 25)])  # fmt: skip
async def test_noise_is_refused_and_a_little_is_not(
    rate: float, refused: tuple[float, float], most_calls: float
) -> None:
    found = [await measured(rate, seed=seed) for seed in range(100)]
    share = sum(report.is_noise(0.1) for report, _ in found) / len(found)
    assert refused[0] <= share <= refused[1]
    assert sum(model.calls for _, model in found) / len(found) <= most_calls
    assert all(report.n <= 200 for report, _ in found)


async def test_repeats_in_traffic_are_used_first_and_cost_nothing() -> None:
    repeated = [sample(number) for number in range(60) for _ in range(2)]
    report, model = await measured(1.0, repeated)
    assert (report.verdict, report.repeats, model.calls) == ("accept", report.n, 0)
    differing = [sample(number, output) for number in range(60) for output in "ab"]
    report, model = await measured(0.0, differing)
    assert (report.verdict, model.calls) == ("reject", 0)


async def test_calls_that_fail_are_no_disagreement_and_end_it_when_most_do() -> None:
    report, model = await measured(0.0, fails=1.0)
    assert (report.n, report.trouble) == (0, "down")
    assert report.unmeasured == model.calls <= 8
    report, _ = await measured(0.0, fails=0.3)
    assert (report.verdict, report.disagreed) == ("accept", 0)


def test_a_full_sample_decides_by_its_share_and_a_small_one_only_by_proof() -> None:
    assert NoiseReport(FULL_SAMPLE, 22).is_noise(0.1)
    assert not NoiseReport(FULL_SAMPLE, 20).is_noise(0.1)
    assert not NoiseReport(20, 3).is_noise(0.1)
    assert NoiseReport(20, 6).is_noise(0.1)
    assert not NoiseReport(FULL_SAMPLE, 22, verdict="accept").is_noise(0.1)


async def test_the_refusal_names_share_number_and_ways_out(tmp_path: Any) -> None:
    world = World(tmp_path, FakeClock(), CONFIG.model_copy(update={"noise": NoiseConfig()}))
    await world.open()
    await world.register()
    await world.record(lines(60, split="train"))
    world.model.noise = 0.5
    world.model.coder.append(coder_answer())
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "not_a_function")
    noise = candidate.measurements["noise"]
    assert f"{noise['disagreed']} of {noise['n']} repeated inputs (q = " in candidate.reason
    assert "Loosen the comparator, compress the prompt instead" in candidate.reason
    assert candidate.costs.tokens_in == 100 * len(world.model.asked), "the calls are the candidate's cost"
    assert world.model.specifications == []
    assert (await world.oversight.why(APP, PARSE))["candidateId"] is None
    await world.close()
