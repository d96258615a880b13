"""DeterministicStrategy: what can be left out without asking anybody: blanks, repeated lines, surplus examples."""

import re
from collections.abc import Sequence

from uhlp.optimization.compress.strategy import SectionEdit, StrategyUse, edit_of
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.syntax import TemplateError, parts_of

_FENCE = re.compile(r"^\s*(```|~~~)")
_BLANKS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_EXAMPLE = re.compile(r"^[\s>*_#-]*(?:for example|example\b|e\.g\.|input\s*:)", re.IGNORECASE)
_LEAST_EXAMPLES = 2


class DeterministicStrategy:
    """Free and the same every time. Text in code fences is left alone; a body that would lose a placeholder is not
    proposed.
    """

    name = "deterministic"

    async def propose(
        self, prompt: PromptDescriptor, *, component_id: str, deadline: float
    ) -> tuple[Sequence[SectionEdit], StrategyUse]:
        edits: list[SectionEdit] = []
        for section in prompt.sections:
            if not section.compressible:
                continue
            squeezed = _squeezed(section.body)
            without_repeats = _without_repeated_lines(squeezed)
            without_example = _without_last_example(without_repeats)
            for body in dict.fromkeys((without_example, without_repeats, squeezed)):
                if body.strip() and body != section.body and _has_same_parts(section.body, body):
                    edits.append(edit_of(section.key, section.body, section.sha256, body, strategy=self.name))
        return edits, StrategyUse()


def _squeezed(body: str) -> str:
    """Without blanks at the ends of lines and runs of blanks and of empty lines within them."""
    lines: list[str] = []
    is_fenced = False
    for line in body.splitlines():
        if _FENCE.match(line):
            is_fenced = not is_fenced
        kept = line if is_fenced else _BLANKS.sub(" ", line.rstrip())
        if kept or not lines or lines[-1] or is_fenced:
            lines.append(kept)
    return "\n".join(lines).strip("\n") + "\n"


def _without_repeated_lines(body: str) -> str:
    """Each line of text once: the first time."""
    seen: set[str] = set()
    lines: list[str] = []
    is_fenced = False
    for line in body.splitlines():
        is_fence = _FENCE.match(line) is not None
        is_fenced = is_fenced != is_fence
        bare = " ".join(line.lower().split())
        if is_fenced or is_fence or not bare or "{%" in line or bare not in seen:
            lines.append(line)
        seen.add(bare)
    return _squeezed("\n".join(lines))


def _without_last_example(body: str) -> str:
    """Without the last paragraph that begins like an example, where others stay."""
    paragraphs = body.strip("\n").split("\n\n")
    places = [place for place, text in enumerate(paragraphs) if _EXAMPLE.match(text)]
    if len(places) < _LEAST_EXAMPLES or "```" in body or "~~~" in body:
        return body
    del paragraphs[places[-1]]
    return "\n\n".join(paragraphs) + "\n"


def _has_same_parts(before: str, after: str) -> bool:
    try:
        return parts_of(before) == parts_of(after)
    except TemplateError:
        return False
