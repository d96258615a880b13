"""What `/readyz` asks, and the answers."""

from collections.abc import Callable, Sequence

from uhlp.evolution.book import CandidateBook
from uhlp.execution.workflow.workflow_runs import WorkflowRuns
from uhlp.loops import LoopStatus
from uhlp.sandbox.manager import SandboxManager
from uhlp.settings import Settings
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.web.services import Probe


def readiness_probes(
    *,
    runtime: RuntimeStore,
    state: StateManager,
    sandboxes: SandboxManager,
    settings: Settings,
    loops: Callable[[], Sequence[LoopStatus]],
    book: CandidateBook,
    runs: WorkflowRuns,
) -> dict[str, Probe]:
    async def runtime_store() -> str | None:
        await runtime.ping()
        return None

    async def workflows() -> str | None:
        await runs.ping()
        return None

    async def driver() -> str | None:
        capabilities = sandboxes.capabilities
        if capabilities.isolation == "none" and settings.deployment_mode == "production":
            return f"isolation: none ({'; '.join(capabilities.missing)})"
        return sandboxes.driver_status().get("problem") or None

    async def background_loops() -> str | None:
        unhealthy = [f"{one.name}: {one.last_error or 'stopped'}" for one in loops() if not one.is_healthy]
        return "; ".join(unhealthy) or None

    async def ledger() -> str | None:
        return "; ".join(f"{problem.what}: {problem.why}" for problem in book.problems) or None

    return {
        "runtimeStore": runtime_store,
        "definitions": state.definitions_unready,
        "sandboxes": driver,
        "loops": background_loops,
        "ledger": ledger,
        "workflows": workflows,
    }
