"""The coder's choice of procedure: labels, extraction, or an honest refusal."""

import asyncio
from dataclasses import asdict, dataclass

from uhlp.demo.simulated_model.coder.extraction import write_extraction
from uhlp.demo.simulated_model.coder.labels import write_labels
from uhlp.demo.simulated_model.coder.refusal import write_refusal
from uhlp.demo.simulated_model.coder.specification import read_specification
from uhlp.strict_json import dumps


@dataclass(frozen=True, slots=True)
class WrittenHandler:
    """What the specification asks for."""

    code: str
    tests: str
    guard: str


async def write_handler(prompt: str) -> str:
    """The coder's answer to a specification: one JSON object {code, tests, guard}, from the prompt alone."""
    specification = read_specification(prompt)
    labels = await write_labels(specification)
    parts = labels or await asyncio.to_thread(write_extraction, specification) or write_refusal(specification)
    return dumps(asdict(WrittenHandler(*parts))).decode()
