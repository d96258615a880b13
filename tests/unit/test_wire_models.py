"""What every wire model has in common."""

from tests.left_behind import objects_left_behind
from uhlp.sources.app_queue import SourceMessage


def test_nothing_of_what_was_read_stays_in_memory() -> None:
    def read(number: int) -> None:
        SourceMessage.model_validate_json(f'{{"source": "queue", "input": {{}}, "trace": {{"id": "number {number}"}}}}')

    assert objects_left_behind(read, times=1_000) < 0.1
