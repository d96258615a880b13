from typing import Any

from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.mailbox.mailbox import Mailbox


class SendsTwice:
    """A mailbox of evaluations that delivers everything twice."""

    def __init__(self, box: Mailbox[EvalRequest, EvalResult]) -> None:
        self._box = box

    async def send(self, body: EvalRequest, *, reply_to: str) -> str:
        await self._box.send(body, reply_to=reply_to)
        return await self._box.send(body, reply_to=reply_to)

    def reply_box(self, body: type[Any]) -> Mailbox[Any, None]:
        return self._box.reply_box(body)
