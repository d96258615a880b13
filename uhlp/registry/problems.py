"""Problems: everything that is wrong with a definition, told at once."""

from typing import Any

from uhlp.errors import DefinitionInvalid

MOST_PROBLEMS = 100


class Problems:
    """Collects {"file", "path" (JSON pointer), "line"?, "message"}; `raise_any` ends a check."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._found: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, file: str, message: str, *, path: str = "", line: int | None = None) -> None:
        """One problem; `path` points into the file."""
        place = {"file": file, "path": path} | ({} if line is None else {"line": line})
        self._found.append(place | {"message": message})

    def take(self, error: DefinitionInvalid, file: str, *, at: str = "") -> None:
        """The problems of another room's check of `file`; `at` is where in the file it looked."""
        for problem in error.details.get("problems") or [{"message": error.message}]:
            pointer = str(problem.get("path", "")).removeprefix(file).removeprefix("#")
            self.add(file, problem["message"], path=at + pointer, line=problem.get("line"))

    def raise_any(self) -> None:
        """Raise DefinitionInvalid with all problems, if there are any."""
        if not self._found:
            return
        first, more = self._found[0], len(self._found) - 1
        where = first["file"] + (f", line {first['line']}" if "line" in first else "")
        where += f" ({first['path']})" if first["path"] else ""
        raise DefinitionInvalid(
            f"{self._subject}: {where}: {first['message']}" + (f"; and {more} more" if more else ""),
            details={"problems": self._found[:MOST_PROBLEMS]},
        )
