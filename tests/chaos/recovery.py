"""When a server that has been through chaos is whole again."""

from collections.abc import Callable

from tests.chaos.load import JIT, LLM, outcome
from tests.chaos.sandboxes import Sandboxes, ids, spares
from tests.chaos.storm import ANSWERS
from tests.e2e.server import Server, wait_until

WHOLE_WITHIN_S = 60.0


def wait_until_whole(server: Server, sandboxes: Sandboxes, *app_ids: str) -> None:
    """Handlers and model answer everywhere, nothing waits, and no sandbox is left that nobody knows. `app_ids` are all
    applications of the server."""
    for app_id in app_ids:
        answers = _answers(server, app_id)
        wait_until(lambda ask=answers: ask("sort") == JIT, f"the handler of {app_id} answers", WHOLE_WITHIN_S)
        wait_until(lambda ask=answers: ask("ask") == LLM, f"the model of {app_id} answers", WHOLE_WITHIN_S)
        wait_until(lambda ask=answers: ask("alone") == JIT, f"the lone handler of {app_id} answers", WHOLE_WITHIN_S)
        assert [answers("sort") for _ in range(8)] == [JIT] * 8

    def is_at_rest() -> bool:
        pools = server.administer("GET", "/sandboxes")["pools"]
        return not any(pool["problem"] or pool["waiting"] or pool["busy"] or pool["starting"] for pool in pools)

    wait_until(is_at_rest, "every pool is at rest", WHOLE_WITHIN_S)

    def all_are_known() -> bool:
        known = {each for app_id in app_ids for each in ids(server, app_id)}
        left = sandboxes.left(server)
        return known <= left and len(left) == len(known) + spares(server)

    wait_until(all_are_known, "no sandbox is left that nobody knows", WHOLE_WITHIN_S)


def _answers(server: Server, app_id: str) -> Callable[[str], str]:
    return lambda path: outcome(server.http.post(f"/apps/{app_id}/{path}", json=ANSWERS))
