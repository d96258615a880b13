"""Voiding: when what a candidate has proven is about something that is not there any more."""

from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.registry.snapshot import ComponentSnapshot

CHANGED = "its prompt, schemas or settings have changed, and what it proved was about the old ones"
OVERRIDDEN = "the overrides of its prompt were changed by hand, and what it proved was about the ones before"


def why_void(candidate: Candidate, component: ComponentSnapshot) -> str | None:
    """Why the candidate's evidence says nothing about `component` as it is now; None when it does.

    A shorter prompt is held against the one that stood under `stable` when it was admitted; once promoted it stands
    there itself. Anything else there was put there by somebody.
    """
    if component.spec_hash != candidate.spec_hash:
        return CHANGED
    if not candidate.is_prompt or component.prompt_artifact is None:
        return None
    stands = {prompt_before(candidate)}
    if candidate.state is CandidateState.PROMOTED:
        stands.add(candidate.code_sha)
    return None if component.prompt_artifact.sha256 in stands else OVERRIDDEN


def prompt_before(candidate: Candidate) -> str | None:
    """SHA-256 of the prompt, as a runner gets it, that was in service at the candidate's checkpoint."""
    if candidate.checkpoint is None:
        return None
    before = candidate.checkpoint.baseline.get("promptSha")
    return None if before is None else str(before)
