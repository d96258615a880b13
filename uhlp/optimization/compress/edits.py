"""Which proposed edits are worth a trial: cheap filters before dear runs."""

from collections.abc import Sequence

from uhlp.errors import OverrideRefused
from uhlp.optimization.compress.optimization_report import EditVerdict
from uhlp.optimization.compress.strategy import SectionEdit
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.write_checks import check_override

LEAST_TOKENS = 20
LEAST_SHARE = 0.03
MOST_TRIED = 12


def sifted(prompt: PromptDescriptor, edits: Sequence[SectionEdit]) -> list[EditVerdict]:
    """A verdict for each edit, those to be tried `untried`; the largest savings first. The same edit twice is one."""
    sections = {one.key: one for one in prompt.sections}
    verdicts: list[EditVerdict] = []
    tried = 0
    for edit in sorted({one.digest: one for one in edits}.values(), key=lambda one: -one.saves):
        section = sections.get(edit.section)
        verdict = EditVerdict(edit=edit, original_body=section.body if section else "")
        try:
            check_override(edit.as_override(), section)
        except OverrideRefused as refused:
            verdicts.append(verdict.model_copy(update={"outcome": "invalid", "reason": refused.message}))
            continue
        if edit.saves < LEAST_TOKENS or edit.saves < LEAST_SHARE * edit.original_tokens:
            about = f"{edit.saves} token" if edit.saves == 1 else f"{edit.saves} tokens"
            reason = f"saves about {about}; at least {LEAST_TOKENS}, and {LEAST_SHARE:.0%}, are asked for"
            verdicts.append(verdict.model_copy(update={"outcome": "no_saving", "reason": reason}))
            continue
        if tried == MOST_TRIED:
            reason = f"{MOST_TRIED} edits that save more are tried"
            verdicts.append(verdict.model_copy(update={"outcome": "no_saving", "reason": reason}))
            continue
        tried += 1
        verdicts.append(verdict)
    return verdicts
