"""KeptPrompt: what a candidate for a shorter prompt is made of, as it stands at the candidate's ref."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Self

import orjson

from uhlp.optimization.compress import OptimizationReport
from uhlp.registry.snapshot import Artifact

PROMPT_FILE = "prompt.json"
_PREVIOUS, _SET, _SET_BEFORE, _REPORT = "previous.json", "overrides.yaml", "overrides-before.yaml", "report.json"


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """`artifact` is the whole prompt as a runner gets it, `previous` the one it is to replace. `overrides` is the file
    under the tag `stable` that makes the one of the other; `overrides_before` the one that was there, None: none was.
    """

    artifact: Artifact
    previous: Artifact
    overrides: bytes
    overrides_before: bytes | None
    report: OptimizationReport

    @property
    def diff(self) -> str:
        """What changes in the text of the prompt, as `diff -u`."""
        before, after = (orjson.loads(one.content)["template"].splitlines() for one in (self.previous, self.artifact))
        lines = unified_diff(before, after, fromfile="stable", tofile="shorter", lineterm="")
        return "".join(f"{one}\n" for one in lines)

    def files(self) -> dict[str, bytes]:
        """As they are kept (`Promotion.keep`)."""
        files = {
            PROMPT_FILE: self.artifact.content,
            _PREVIOUS: self.previous.content,
            _SET: self.overrides,
            _REPORT: orjson.dumps(
                self.report.model_dump(mode="json", by_alias=True), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
            ),
        }
        if self.overrides_before is not None:
            files[_SET_BEFORE] = self.overrides_before
        return files

    @classmethod
    def of(cls, files: Mapping[str, bytes], path: str) -> Self:
        """From `files`, of the prompt at `path`. Raises KeyError or ValueError for files that are not a prompt's."""
        return cls(
            artifact=Artifact.of(path, files[PROMPT_FILE]),
            previous=Artifact.of(path, files[_PREVIOUS]),
            overrides=files[_SET],
            overrides_before=files.get(_SET_BEFORE),
            report=OptimizationReport.model_validate_json(files[_REPORT]),
        )


def trained_of(files: Mapping[str, bytes]) -> frozenset[str]:
    """The inputs that a candidate's work was fitted to, by short hash."""
    record: dict[str, Any] = orjson.loads(files["record.json"])
    return frozenset(record.get("trained", ()))
