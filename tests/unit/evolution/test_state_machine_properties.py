"""Whatever happens, in whatever order: the invariants of evolution hold (`evolution_machine` says which)."""

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.evolution.evolution_machine import EvolutionMachine

EvolutionTest = EvolutionMachine.TestCase
EvolutionTest.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
EvolutionTest.__name__ = "test_no_order_of_events_breaks_an_invariant"


@pytest.mark.long
class TestAtLength(EvolutionMachine.TestCase):
    """The same, for some minutes."""

    settings = settings(
        max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
    )
