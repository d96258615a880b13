"""What Prometheus sees of candidates is what the book and the governor know."""

from world import APP, PARSE, World

from tests.shown_metrics import ShownMeter
from uhlp.catalogue import evolution
from uhlp.evolution.evolution_gauges import EvolutionGauges
from uhlp.evolution.leadership import Leadership


def gauges_of(world: World, meter: ShownMeter) -> EvolutionGauges:
    leadership = Leadership(leases=None, holder="world", ttl_s=15, clock=world.clock)
    return EvolutionGauges(book=world.book, governor=world.governor, leadership=leadership, meter=meter)


async def test_the_evidence_of_a_candidate_in_traffic_is_shown_until_it_leaves(world: World) -> None:
    meter = ShownMeter()
    gauges = gauges_of(world, meter)
    candidate_id = await world.to_state("promoted")
    gauges.show()
    live = world.governor.evidence_of(candidate_id)
    assert live is not None
    key = (APP, PARSE, candidate_id)
    assert meter.series(evolution.CANDIDATES) == {(APP, "promoted"): 1}
    assert meter.series(evolution.GATE_COMPARISONS) == {key: live.account.n}
    assert meter.series(evolution.GATE_WRONG) == {key: 0}
    assert meter.series(evolution.GATE_PROVEN) == {key: live.account.proven}
    assert meter.series(evolution.GATE_LOG_EVIDENCE)[key] >= meter.series(evolution.GATE_LOG_EVIDENCE_NEEDED)[key]
    assert meter.series(evolution.AGREEMENT) == {key: 1}
    assert meter.series(evolution.COVERAGE) == {key: live.figures.coverage}
    assert meter.series(evolution.LEADING) == {(): 1}

    await world.oversight.act(candidate_id, "rollback", actor="Ann", reason="enough")
    gauges.show()
    assert meter.series(evolution.CANDIDATES) == {(APP, "rolled_back"): 1}
    assert meter.series(evolution.GATE_COMPARISONS) == meter.series(evolution.COVERAGE) == {}


async def test_comparisons_in_traffic_are_counted_by_stage_and_outcome(world: World) -> None:
    await world.to_state("promoted")
    compared = {key: count for key, count in world.meter.counts.items() if key[0] == evolution.COMPARISONS.name}
    assert compared
    assert {key[1:4] for key in compared} == {(APP, PARSE, "shadow"), (APP, PARSE, "audit")}
    assert sum(compared.values()) > 10
