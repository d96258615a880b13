"""A prompt template, checked and cut into sections; what a snapshot holds of `prompts/<name>.yaml` (contracts §3)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid
from uhlp.jsonschemas import check_schema
from uhlp.models.faults import fault_message
from uhlp.models.prompt import PromptTemplate
from uhlp.prompts.syntax import TemplateError, variables_of
from uhlp.strict_yaml import YamlDocument

_HEADING = re.compile(r"^#{1,6}[ \t]+(?P<title>.*?)[ \t]*#*$")
_FENCE = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3,})")
_PREAMBLE = "preamble"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a prompt that is measured, overridden and compressed by itself. `sha256` is of `body`, in hex."""

    key: str
    body: str
    compressible: bool
    sha256: str

    @staticmethod
    def hash_of(body: str) -> str:
        """What `sha256` is of a body."""
        return sha256(body.encode()).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """One valid prompt template at `path`. `variables` are the names its text asks of the component's input.

    `input` and `flags` are not among them: a template sees the whole input under the one name, and what an experiment
    switches under the other.
    """

    path: str
    definition: PromptTemplate
    text: str
    sections: tuple[Section, ...]
    variables: frozenset[str]

    def with_bodies(self, bodies: Mapping[str, str]) -> "Prompt":
        """This prompt with other bodies for some of its sections, by key; what a body ends with stays as it was."""
        sections = tuple(
            _section(one.key, _ended_as(one.body, bodies[one.key]), compressible=one.compressible)
            if one.key in bodies
            else one
            for one in self.sections
        )
        between = "" if self.definition.template is not None else "\n\n"
        return replace(self, text=between.join(one.body for one in sections), sections=sections)

    def artifact(self, output_schema: Mapping[str, Any] | None = None) -> bytes:
        """What a runner loads, by content: canonical JSON with the joined text and what shapes the answer.

        `output_schema` is the component's, which stands above the prompt's own: the runner repairs against it.
        """
        definition = self.definition
        return strict_json.canonical(
            {
                "template": self.text,
                "outputFormat": definition.output_format,
                "outputSchema": output_schema if output_schema is not None else definition.output_schema,
                "examples": list(definition.examples),
                "model": definition.model,
                "parameters": definition.parameters,
            }
        )


def parse_prompt(raw: bytes, *, path: str) -> Prompt:
    """The prompt in a YAML file. `path` (`prompts/<name>.yaml`) names the file in errors.

    Raises DefinitionInvalid with details {"problems": [{"path", "line", "message"}]}: bad YAML, unknown fields, Jinja2
    faults with the line of the file, a bad `outputSchema`.
    """
    document = YamlDocument(raw, path=path)
    definition = _definition(document)
    if definition.template is not None:
        text, sections = definition.template, tuple(_sections_of(definition.template))
    else:
        bodies = [section.body.strip("\n") for section in definition.sections]
        text = "\n\n".join(bodies)
        sections = tuple(
            _section(section.key, body, compressible=section.compressible)
            for section, body in zip(definition.sections, bodies, strict=True)
        )
    try:
        variables = variables_of(text)
    except TemplateError as fault:
        pointer, line = _place(document, definition, fault.line)
        raise document.invalid([document.problem(pointer, f"the template is not valid: {fault}", line=line)]) from None
    if definition.output_schema is not None:
        _check_output_schema(document, definition.output_schema)
    return Prompt(path, definition, text, sections, variables - {"input", "flags"})


def _definition(document: YamlDocument) -> PromptTemplate:
    if not isinstance(document.value, dict):
        raise document.invalid([document.problem("", "a prompt is a mapping with `template` or `sections`")])
    try:
        definition = PromptTemplate.model_validate(document.value)
    except ValidationError as error:
        problems = []
        for fault in error.errors(include_url=False, include_input=False):
            pointer = "".join(f"/{step}" for step in fault["loc"])
            problems.append(document.problem(pointer, fault_message(fault, PromptTemplate)))
        raise document.invalid(problems) from None
    keys = [section.key for section in definition.sections]
    repeated = [index for index, key in enumerate(keys) if key in keys[:index]]
    if repeated:
        raise document.invalid(
            [document.problem(f"/sections/{i}/key", f"the section {keys[i]!r} is given twice") for i in repeated]
        )
    return definition


def _check_output_schema(document: YamlDocument, schema: dict[str, object]) -> None:
    try:
        check_schema(schema, path=f"{document.path}#/outputSchema")
    except DefinitionInvalid as error:
        places = [("/outputSchema" + problem["path"], problem["message"]) for problem in error.details["problems"]]
        raise document.invalid([document.problem(pointer, message) for pointer, message in places]) from None


def _sections_of(template: str) -> Iterator[Section]:
    """One section per Markdown heading outside code fences, headings included; what stands before is `preamble`."""
    used: set[str] = set()
    key, lines, fence = _PREAMBLE, list[str](), ""
    for line in template.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark["mark"]
        elif mark and mark["mark"].startswith(fence):
            fence = ""
        heading = None if fence else _HEADING.match(line.rstrip("\r\n"))
        if heading:
            if "".join(lines).strip():
                yield _section(_unused(key, used), "".join(lines))
                lines = []
            key = _slug(heading["title"])
        lines.append(line)
    yield _section(_unused(key, used), "".join(lines))


def _section(key: str, body: str, *, compressible: bool = True) -> Section:
    return Section(key, body, compressible, Section.hash_of(body))


def _ended_as(before: str, body: str) -> str:
    """`body` with the line ends that `before` ends with: sections of one text are told apart by them."""
    return body.rstrip("\n") + before[len(before.rstrip("\n")) :]


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "section"


def _unused(key: str, used: set[str]) -> str:
    number, name = 1, key
    while name in used:
        number += 1
        name = f"{key}-{number}"
    used.add(name)
    return name


def _place(document: YamlDocument, definition: PromptTemplate, line: int) -> tuple[str, int]:
    """Where a line of the joined text stands in the file: its JSON pointer and line."""
    if definition.template is not None:
        return "/template", document.text_line("/template") + line - 1
    for index, section in enumerate(definition.sections):
        pointer = f"/sections/{index}/body"
        body = section.body.strip("\n")
        height = body.count("\n") + 2  # its own lines and the blank line below
        if line <= height or index == len(definition.sections) - 1:
            leading = len(section.body) - len(section.body.lstrip("\n"))
            return pointer, document.text_line(pointer) + leading + line - 1
        line -= height
    return "/sections", document.line("/sections")
