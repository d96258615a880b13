"""What the simulated model does when it is asked to shorten a section of a prompt: it keeps what instructs.

Headings, lists and whatever holds a placeholder stay as they are; of a paragraph of prose the first sentence stays.
"""

import re

from uhlp import strict_json
from uhlp.errors import MalformedJson

_ASKS = "You shorten one section of a prompt."
_BLOCK = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_KEPT = ("#", "*", "-", "{", "`", "|", "1", "2", "3")


def asks_to_shorten(prompt: str) -> bool:
    """Whether this is a request to shorten a section."""
    return prompt.startswith(_ASKS)


def shortened(prompt: str) -> str:
    """The answer, {"body"}; the section as it is where it cannot be read."""
    blocks = _BLOCK.findall(prompt)
    try:
        body = strict_json.loads(blocks[-1].encode()) if blocks else ""
    except MalformedJson:
        body = ""
    return strict_json.dumps({"body": shorter_text(str(body))}).decode()


def shorter_text(body: str) -> str:
    """The section without what a model can do without."""
    return "\n\n".join(_shorter_paragraph(one) for one in body.split("\n\n"))


def _shorter_paragraph(paragraph: str) -> str:
    lines = paragraph.split("\n")
    head = [line for line in lines[:1] if line.startswith("#")]
    prose = lines[len(head) :]
    if not prose or "{" in paragraph or any(line.lstrip().startswith(_KEPT) for line in prose if line.strip()):
        return paragraph
    first = _SENTENCE.split(" ".join(line.strip() for line in prose).strip())[0]
    return "\n".join([*head, first])
