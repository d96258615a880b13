"""Queues over the administration and the command line: numbers, dead letters, once more, and gone."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from uhlp.mailbox.mailbox_worker import MailboxWorker, Reject
from uhlp.models.definition import AppDefinition
from uhlp.web.services import Services

FILES = {
    "component_registry.yaml": json.dumps(
        {
            "components": [
                {
                    "componentId": "fulfil",
                    "taskDetails": {"prompt_template": "p"},
                    "triggers": [{"source": "queue", "queue": "orders"}],
                    "configurationOverrides": {"redact": ["card"]},
                }
            ]
        }
    ).encode(),
    "prompts/p.yaml": b"template: x\n",
}
AT = "/admin/v1/apps/shop/queues"


@pytest.fixture
async def client(
    stored: Services, client_of: Callable[[Services], Awaitable[httpx.AsyncClient]], admin: dict[str, str]
) -> httpx.AsyncClient:
    """A shop with one message that waits and one that was rejected."""
    await stored.registry.register_application(AppDefinition(app_id="shop"), files=FILES)
    made = await client_of(stored)
    made.headers.update(admin)
    queues = stored.sources.queues

    async def reject(message: Any) -> None:
        raise Reject("sold out")

    await queues.put("shop", "orders", {"text": "3 pears", "card": "4111 1111"})
    worker = MailboxWorker(queues.mailbox(queues.queue("shop", "orders")), reject, clock=stored.clock)
    await worker.run_cycle()
    await queues.put("shop", "orders", {"text": "4 pears"})
    return made


async def test_queues_are_listed_with_their_numbers(client: httpx.AsyncClient) -> None:
    (row,) = (await client.get(AT)).json()["queues"]
    assert (row["queue"], row["componentId"], row["ready"], row["dead"]) == ("orders", "fulfil", 1, 1)
    assert (await client.get("/admin/v1/apps/nobody/queues")).status_code == 404


async def test_dead_letters_say_why_and_hide_what_samples_hide(client: httpx.AsyncClient) -> None:
    (letter,) = (await client.get(f"{AT}/orders/dead-letters")).json()["deadLetters"]
    assert (letter["reason"], letter["componentId"], letter["deliveryCount"]) == ("sold out", "fulfil", 1)
    assert letter["input"] == {"text": "3 pears", "card": "[redacted]"}
    assert (await client.get(f"{AT}/nothing/dead-letters")).json()["error"]["code"] == "QUEUE_NOT_FOUND"


async def test_a_dead_letter_is_revived_or_all_are_purged(client: httpx.AsyncClient) -> None:
    (letter,) = (await client.get(f"{AT}/orders/dead-letters")).json()["deadLetters"]
    revived = await client.post(f"{AT}/orders/dead-letters/{letter['messageId']}/revive")
    assert revived.json() == {"messageId": letter["messageId"], "revived": True}
    assert (await client.post(f"{AT}/orders/dead-letters/{letter['messageId']}/revive")).status_code == 404
    assert (await client.delete(f"{AT}/orders/dead-letters")).json() == {"removed": 0}
    assert (await client.get(AT)).json()["queues"][0]["ready"] == 2


async def test_messages_stay_unless_the_state_of_their_application_goes(
    client: httpx.AsyncClient, stored: Services
) -> None:
    queues = stored.sources.queues
    await stored.registry.register_application(AppDefinition(app_id="office"), files=FILES)
    await queues.put("office", "orders", {"text": "paper"})
    shop, office = queues.queue("shop", "orders"), queues.queue("office", "orders")
    assert (await client.delete("/admin/v1/apps/shop")).status_code == 200
    assert (await client.delete("/admin/v1/apps/office?deleteState=true")).status_code == 200
    assert (await queues.mailbox(shop).counts()).ready == 1
    assert (await queues.mailbox(office).counts()).ready == 0
