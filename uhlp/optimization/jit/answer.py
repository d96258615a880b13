"""Reading the coder's answer: strict, because everything a model returns is untrusted."""

import re
from dataclasses import dataclass

from uhlp.errors import MalformedJson
from uhlp.strict_json import loads

MAX_CODE_CHARACTERS = 100_000

_FENCE = re.compile(r"```([a-zA-Z]*)[ \t]*\n(.*?)\n?```", re.DOTALL)


class UnreadableAnswer(Exception):
    """The coder's answer is not in the form that was asked for; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class CoderAnswer:
    code: str
    tests: str
    guard: str


def read_answer(text: str) -> CoderAnswer:
    """`text` as {code, tests, guard}: one JSON object, bare or fenced, else exactly two Python fences (code, tests).

    Raises UnreadableAnswer.
    """
    stripped = text.strip()
    fences = _FENCE.findall(stripped)
    json_fences = [body for language, body in fences if language.lower() == "json"]
    if stripped.startswith("{"):
        return _from_json(stripped)
    if len(json_fences) == 1:
        return _from_json(json_fences[0])
    python_fences = [body for language, body in fences if language.lower() in ("python", "py")]
    if len(python_fences) == 2:
        return _checked(python_fences[0] + "\n", python_fences[1] + "\n", "")
    raise UnreadableAnswer("answer with one JSON object that has the keys code, tests and guard, and nothing else")


def _from_json(raw: str) -> CoderAnswer:
    try:
        value = loads(raw.encode("utf-8", "surrogatepass"))
    except MalformedJson as error:
        raise UnreadableAnswer(f"the answer is not JSON: {error.message}") from None
    if not isinstance(value, dict):
        raise UnreadableAnswer("the answer must be a JSON object")
    unknown = sorted(set(value) - {"code", "tests", "guard"})
    if unknown:
        raise UnreadableAnswer(f"the answer has unknown keys: {', '.join(unknown)}")
    return _checked(value.get("code"), value.get("tests"), value.get("guard", ""))


def _checked(code: object, tests: object, guard: object) -> CoderAnswer:
    for name, part in (("code", code), ("tests", tests)):
        if not isinstance(part, str) or not part.strip():
            raise UnreadableAnswer(f"`{name}` must be a string that is not empty")
        if len(part) > MAX_CODE_CHARACTERS:
            raise UnreadableAnswer(f"`{name}` is longer than {MAX_CODE_CHARACTERS} characters")
        if not _is_utf8(part):
            raise UnreadableAnswer(f"`{name}` holds characters that are no text")
    if not isinstance(guard, str):
        raise UnreadableAnswer("`guard` must be a string")
    assert isinstance(code, str)  # noqa: S101  checked above, for the type checker
    assert isinstance(tests, str)  # noqa: S101
    return CoderAnswer(code=code, tests=tests, guard=guard[:2000])


def _is_utf8(text: str) -> bool:
    """Half a surrogate pair can be in a string and cannot be written; a zero byte ends a source in its middle."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
