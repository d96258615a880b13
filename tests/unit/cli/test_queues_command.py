"""`uhlp queues` shows what waits, and why something is not delivered any more."""

import json
from typing import Any

from cli.conftest import Run
from uhlp.mailbox.mailbox_worker import MailboxWorker, Reject
from uhlp.models.definition import AppDefinition
from uhlp.web.services import Services

REGISTRY = {
    "components": [
        {
            "componentId": "fulfil",
            "taskDetails": {"prompt_template": "p"},
            "triggers": [{"source": "queue", "queue": "orders"}],
        }
    ]
}


async def test_queues_are_shown_and_a_dead_letter_is_revived(
    uhlp: Run, server: dict[str, str], services: Services
) -> None:
    files = {"component_registry.yaml": json.dumps(REGISTRY).encode(), "prompts/p.yaml": b"template: x\n"}
    await services.registry.register_application(AppDefinition(app_id="shop"), files=files)
    queues = services.sources.queues

    async def reject(message: Any) -> None:
        raise Reject("sold out")

    message_id = await queues.put("shop", "orders", {"text": "3 pears"})
    await MailboxWorker(queues.mailbox(queues.queue("shop", "orders")), reject, clock=services.clock).run_cycle()
    listed = await uhlp("queues", "shop", COLUMNS="80", **server)
    assert listed.out.splitlines()[3].split() == ["orders", "fulfil", "0", "0", "0", "1"], listed.err
    assert max(map(len, listed.out.splitlines())) <= 80
    dead = await uhlp("queues", "shop", "orders", COLUMNS="80", **server)
    assert message_id in dead.out
    assert "    sold out" in dead.out
    assert max(map(len, dead.out.splitlines())) <= 80
    assert (await uhlp("queues", "shop", "orders", "--revive", message_id, **server)).status == 0
    told = json.loads((await uhlp("queues", "shop", "--json", **server)).out)
    assert (told["queues"][0]["ready"], told["queues"][0]["dead"]) == (1, 0)
    assert "removed 0 dead letters" in (await uhlp("queues", "shop", "orders", "--purge", **server)).out
    unclear = await uhlp("queues", "shop", "--purge", **server)
    assert (unclear.status, "which queue?" in unclear.err) == (1, True)
