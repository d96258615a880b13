"""spec_hash: what a component means, as one number. Evidence gathered under one hash is void under another."""

from hashlib import sha256
from typing import Any

from uhlp import strict_json
from uhlp.models.definition import ComponentDefinition
from uhlp.prompts import Prompt


def spec_hash(
    definition: ComponentDefinition,
    *,
    prompt: Prompt | None,
    input_schema: dict[str, Any] | None,
    output_schema: dict[str, Any] | None,
    workflow: str | None = None,
) -> str:
    """SHA-256, in hex, of prompt, schemas, comparator, decision field, effects, tools and description.

    Of a workflow, `workflow` says what its steps and those of all workflows that it calls mean.

    Left out on purpose: how the component runs today (handler type, script), where it is reached (route, triggers),
    and what only tunes it (timeouts, rules, thresholds, the server's model).
    """
    meaning = {
        "description": definition.description,
        "prompt": None if prompt is None else sha256(prompt.artifact()).hexdigest(),
        "inputSchema": input_schema,
        "outputSchema": output_schema,
        "comparator": definition.optimization.comparator,
        "decisionField": definition.optimization.decision_field,
        "effects": definition.effective_effects,
        "tools": sorted(definition.tools),
    }
    if workflow is not None:  # no key without one: hashes of old stay as they are
        meaning["workflow"] = workflow
    return sha256(strict_json.canonical(meaning)).hexdigest()
