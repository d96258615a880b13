"""Extraction outputs: forms induced by tracing output values back to the input text, and a handler made of them."""

from uhlp.demo.simulated_model.coder.extraction.extractor import Extractor
from uhlp.demo.simulated_model.coder.extraction.induction import induce
from uhlp.demo.simulated_model.coder.extraction.rendering import guard_sentence, handler_source, tests_source
from uhlp.demo.simulated_model.coder.specification import Recorded, Specification

MIN_COVERAGE = 0.2

__all__ = ["MIN_COVERAGE", "write_extraction"]


def write_extraction(specification: Specification) -> tuple[str, str, str] | None:
    """(code, tests, guard), or None when the outputs cannot be traced to one text of the inputs.

    The first attempt knows one way of writing numbers, as a hasty author does: whatever looks like a number is read
    that way. Shown a handler that failed, it looks at how the recorded numbers are really written.
    """
    text_fields = sorted({key for one in specification.samples for key, text in _fields(one) if isinstance(text, str)})
    extractors = [
        induce(
            [(one.input[field], one.output) for one in _with_text(specification.samples, field)],
            input_field=field,
            output_schema=specification.output_schema,
            knows_spellings=not specification.is_first_attempt,
            counterexamples=[
                (one.input[field], one.output) for one in _with_text(specification.counterexamples, field)
            ],
        )
        for field in text_fields
    ]
    found = [extractor for extractor in extractors if extractor is not None]
    if not found:
        return None

    def coverage(extractor: Extractor) -> int:
        return sum(
            extractor.answer(dict(_fields(one)).get(extractor.input_field)) is not None for one in specification.samples
        )

    best = max(found, key=coverage)
    if coverage(best) < MIN_COVERAGE * len(specification.samples):
        return None
    samples = len(specification.samples)
    code = handler_source(best, component_id=specification.component_id, samples=samples)
    return code, tests_source(best, specification.samples), guard_sentence(best)


def _fields(one: Recorded) -> list[tuple[str, object]]:
    return list(one.input.items()) if isinstance(one.input, dict) else []


def _with_text(recorded: tuple[Recorded, ...], field: str) -> list[Recorded]:
    return [one for one in recorded if isinstance(dict(_fields(one)).get(field), str)]
