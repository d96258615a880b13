"""Case summaries: prose that is worded anew at every ask, as free text of a real model is."""

import re
from typing import Any

from uhlp.demo.simulated_model.tasks.task import Dice, Task

_REPORT = re.compile(r"(?P<who>[^.]*?) reports that (?P<what>[^.]*)\.")
_WISH = re.compile(r"; the customer (?P<wish>[^.]*)\.")
_ORDER = re.compile(r"\bOrder (?P<number>\d+)")
_STEPS = {
    "photos": ("photos are in", "photos were received", "we have photos"),
    "replacement": ("a replacement is pending", "a replacement is out of stock", "no replacement is available yet"),
    "warehouse": ("the warehouse sees no fault on its side", "it left the warehouse intact"),
    "reproduce": ("the fault could not be reproduced", "a technician could not reproduce it"),
    "manual": ("the manual did not help", "sending the manual changed nothing"),
    "carrier": ("the carrier is looking into it", "an inquiry with the carrier is open"),
}
_OPENINGS = ("{who} says that {what}", "Reported by {who}: {what}", "{what}, according to {who}", "{who}: {what}")
_STATUS = ("So far {steps}.", "Status: {steps}.", "Up to now {steps}.", "What was done: {steps}.")
_WISHES = (
    "The customer {wish}.",
    "Next: the customer {wish}.",
    "Open point: the customer {wish}.",
    "They note: {wish}.",
)
_REFERENCES = ("(order {number})", "Order {number}.", "Ref. {number}.")


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"summary"}: two or three sentences of what is in the notes, in words and an order that change."""
    report, wish, order = _REPORT.search(text), _WISH.search(text), _ORDER.search(text)
    sentences = []
    if report:
        opening = dice.choice(_OPENINGS).format(who=report["who"].strip(), what=report["what"])
        sentences.append(f"{opening[0].upper()}{opening[1:]}.")
    else:
        sentences.append(dice.choice(("In short: ", "The gist: ", "")) + " ".join(text.split()[:18]) + " …")
    steps = [dice.choice(wordings) for word, wordings in _STEPS.items() if word in text]
    if steps:
        dice.shuffle(steps)
        sentences.append(dice.choice(_STATUS).format(steps=dice.choice((", ", "; ", " and ")).join(steps)))
    if wish:
        sentences.append(dice.choice(_WISHES).format(wish=wish["wish"]))
    if order:
        sentences.insert(dice.choice((1, len(sentences))), dice.choice(_REFERENCES).format(number=order["number"]))
    return {"summary": " ".join(sentences)}


def says_the_same(text: str, summary: str) -> bool:
    """Whether a summary says what the notes do, in any of the wordings above, and no step that they do not."""
    report, wish, order = _REPORT.search(text), _WISH.search(text), _ORDER.search(text)
    told = summary.lower()
    named = [report["who"].strip(), report["what"]] if report else []
    named += [found for found in (wish and wish["wish"], order and order["number"]) if found]
    steps = {word: any(wording in told for wording in wordings) for word, wordings in _STEPS.items()}
    return all(one.lower() in told for one in named) and all(
        is_told == (word in text) for word, is_told in steps.items()
    )


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """A summary that leaves out its end."""
    return {"summary": value["summary"].rpartition(". ")[0] or value["summary"]}


TASK = Task("case-summary", "summary of a support case", "\nCase notes:\n", answer, distort)
