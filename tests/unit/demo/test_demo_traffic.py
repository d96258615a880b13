import re
from collections import Counter
from itertools import islice
from random import Random

import pytest

from tests.unit.demo.written_handlers import record
from uhlp.demo.simulated_model.tasks import TASKS
from uhlp.demo.traffic import COMPONENTS, generator


@pytest.mark.parametrize("component_id", COMPONENTS)
def test_the_same_seed_gives_the_same_requests(component_id: str) -> None:
    one, again, other = (list(islice(generator(component_id, seed), 50)) for seed in (1, 1, 2))
    assert one == again != other


def test_order_lines_hardly_repeat() -> None:
    lines = {request["line"] for request in islice(generator("order-lines", 1), 5000)}
    assert len(lines) > 4500


def test_amounts_come_with_decimal_points_and_with_decimal_commas() -> None:
    texts = [request["text"] for request in islice(generator("amounts", 1), 2000)]
    points = sum(re.search(r"\.\d\d(?!\d)", text) is not None for text in texts)
    commas = sum(re.search(r",\d\d?(?!\d)", text) is not None for text in texts)
    assert points > commas > 300


def test_every_queue_gets_its_share_of_tickets() -> None:
    queues = Counter(answer["queue"] for _, answer in record("ticket-triage", 2000))
    assert set(queues) == {"billing", "technical", "account", "shipping", "other"}
    assert all(200 <= queues[queue] <= 600 for queue in queues if queue != "other")


def test_summaries_of_one_case_mostly_differ() -> None:
    task = next(task for task in TASKS if task.name == "case-summary")
    repeats = differing = 0
    for request in islice(generator("case-summary", 1), 50):
        answers = [task.answer(request["text"], Random(ask)) for ask in range(2)]
        repeats += 1
        differing += answers[0] != answers[1]
    assert differing > 0.8 * repeats
