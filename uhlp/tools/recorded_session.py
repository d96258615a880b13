"""RecordedSession: tool calls of an execution that must change nothing, answered with what another one was told."""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from uhlp import strict_json
from uhlp.errors import ToolNotFound, Unavailable
from uhlp.tools.allowed_tools import is_allowed
from uhlp.tools.core.metrics_record import METRICS_RECORD
from uhlp.tools.session import ToolCallRecord, ToolSession


class RecordedSession(ToolSession):
    """No tool runs. A call is known by tool and arguments; the same call twice gets the two results in their order, and
    then the last one again. `unrecorded` are calls that nobody has made before: what such an execution answers says
    nothing. Metrics are accepted and dropped. Tools in `passed` run all the same: a
    prompt asks the model.
    """

    __slots__ = ("_passed", "_results", "unrecorded")

    def __init__(
        self, session: ToolSession, recorded: Sequence[ToolCallRecord], *, passed: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(session.server, session.context)
        self._passed = passed
        self.unrecorded: list[str] = []
        self._results: defaultdict[tuple[str, bytes], deque[dict[str, Any]]] = defaultdict(deque)
        for one in recorded:
            if one.result is not None:
                self._results[_key(one.tool, one.arguments)].append(one.result)

    async def _answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not is_allowed(name, self.context.allowed_tools):
            raise ToolNotFound(f"There is no tool '{name[:100]}' for component '{self.context.component_id}'.")
        if name in self._passed:
            return await super()._answer(name, arguments)
        if name == METRICS_RECORD:
            return {"accepted": 1}
        results = self._results.get(_key(name, arguments))
        if not results:
            self.unrecorded.append(name)
            raise Unavailable(f"No result was recorded for this call of {name}.")
        return results.popleft() if len(results) > 1 else results[0]


def _key(name: str, arguments: Any) -> tuple[str, bytes]:
    return name, strict_json.canonical(arguments)
