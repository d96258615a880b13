"""A support desk with one prompt component, on real stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from uhlp.clock import FakeClock
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.config import RegistrySettings
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

FILES = {
    "app.yaml": b"""\
# The support desk.
appId: desk
configuration:
  limits: {rows: 10, columns: 3}
optimizationConfig:
  rules:
    - condition: {expression: "count(requests) > 600 && avg(latency_ms) > 500"}
""",
    "component_registry.yaml": b"""\
components:
  # Which team takes it?
  - componentId: triage
    description: Find the team
    handlerType: LLM
    taskDetails: {prompt_template: triage}
    routeMatcher: {pathPattern: "/tickets/:id", methods: [POST]}
    inputSchema: schemas/ticket.json
    optimization: {decisionField: team}  # the class
    configurationOverrides:
      limits: {rows: 99}
""",
    "prompts/triage.yaml": b"""\
template: |
  Which team? {{ text }}
outputSchema:
  type: object
  properties: {team: {type: string}}
  required: [team]
""",
    "schemas/ticket.json": b'{"type": "object", "properties": {"id": {"type": "integer"}, "text": {"type": "string"}}}',
    "evals/triage.jsonl": b'{"id": "g1", "input": {"text": "refund"}, "expected": {"team": "billing"}}\n',
}
CHEAP = RegistrySettings(argon2_memory_kib=64, argon2_time_cost=1)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateManager]:
    runtime = SqliteRuntimeStore(":memory:")
    yield StateManager(definitions=DefinitionStore(tmp_path, clock=FakeClock()), runtime=runtime)
    await runtime.aclose()


@pytest.fixture
async def registry(state: StateManager) -> AsyncIterator[ApplicationRegistry]:
    made = ApplicationRegistry(state=state, config=CHEAP, global_configuration=lambda: {"limits": {"rows": 1, "x": 0}})
    await made.register_application(AppDefinition(app_id="desk"), files=FILES, actor="Ann")
    yield made
    made.close()
