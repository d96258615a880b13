"""ApplicationAuthor: drafts the definition of an application from a description; people review and register it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import structlog

from uhlp.authoring.draft import MOST_CHARACTERS, MOST_DESCRIPTION_CHARACTERS, MOST_FILES, README, Draft, app_id_for
from uhlp.authoring.draft_answer import ANSWER_SCHEMA, UnreadableDraft, read_answer, taken_liberties
from uhlp.authoring.templates_of_applications import template_files, template_for
from uhlp.clock import Clock
from uhlp.errors import AppExists, BadModelAnswer, DefinitionInvalid, ValidationFailed
from uhlp.llm.usage import AUTHOR
from uhlp.models.definition import AppDefinition, LlmConfig
from uhlp.prompts.own_template import fenced_json, own_template
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.definition_files import APP_FILE, DefinitionReader
from uhlp.registry.problems import Problems
from uhlp.registry.secret_scan import find_secrets
from uhlp.tools.context import ToolContext
from uhlp.tools.core.llm_generate import LLM_GENERATE
from uhlp.tools.mcp_client import McpClient

log = structlog.get_logger(__name__)

_DRAFT = own_template(Path(__file__).with_name("draft.md.j2"))
_REPAIR = own_template(Path(__file__).with_name("repair.md.j2"))
_EXAMPLE = "classify"
_ASKED = 2
"""Times: the draft, and one repair."""
_MOST_PROBLEMS_SHOWN = 20


class ModelProviders(Protocol):
    """The model providers that there are."""

    @property
    def providers(self) -> tuple[str, ...]: ...


class ApplicationAuthor:
    """A model writes the draft where there is one, a template stands in where there is none. Nothing is registered."""

    def __init__(
        self,
        *,
        mcp_client: McpClient,
        models: ModelProviders,
        registry: ApplicationRegistry,
        clock: Clock,
        model: str | None = None,
        timeout_s: float = 180.0,
    ) -> None:
        self._mcp_client = mcp_client
        self._models = models
        self._registry = registry
        self._clock = clock
        self._model = model
        self._timeout_s = timeout_s

    async def draft(self, description: str, *, template: str | None = None) -> Draft:
        """A draft for a description; from `template` when one is named. Its problems are those of a compilation.

        Raises ValidationFailed, BadModelAnswer when the model's answer is twice no draft, and what models raise.
        """
        _check(description)
        if template is None and self._models.providers:
            return await self._written(description)
        name = template or template_for(description)
        files = template_files(name, app_id_for(description))
        return Draft(files=files, problems=await self.problems(files), source="template", template=name)

    async def problems(self, files: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
        """What keeps these files from being registered as a new application."""
        try:
            definition = self.definition(files)
            await self._registry.check_application(definition.app_id, _encoded(files))
        except DefinitionInvalid as error:
            return tuple(error.details["problems"])
        if definition.app_id in self._registry.known_app_ids():
            return ({"file": APP_FILE, "path": "/appId", "message": f"{definition.app_id} is registered already"},)
        return ()

    async def register(self, files: Mapping[str, str], *, actor: str) -> AppDefinition:
        """Register reviewed files as a new application. DefinitionInvalid with all problems, AppExists."""
        definition = self.definition(files)
        if definition.app_id in self._registry.known_app_ids():
            raise AppExists(f"An application with the id {definition.app_id} is registered already: change appId.")
        await self._registry.register_application(definition, files=_encoded(files), actor=actor)
        return definition

    def definition(self, files: Mapping[str, str]) -> AppDefinition:
        """The application that app.yaml tells of. DefinitionInvalid with all problems of that file."""
        if len(files) > MOST_FILES or sum(len(text) for text in files.values()) > MOST_CHARACTERS:
            raise ValidationFailed(
                f"A draft has at most {MOST_FILES} files of {MOST_CHARACTERS:,} characters together."
            )
        problems = Problems("the draft")
        reader = DefinitionReader(_encoded(files), problems)
        app = reader.any_app()
        problems.raise_any()
        if app is None:
            raise AssertionError("an unreadable app.yaml is always a problem")
        return app

    async def _written(self, description: str) -> Draft:
        example = {"files": _without_readme(template_files(_EXAMPLE, "example-app"))}
        text = _DRAFT.render(example=fenced_json(example), description=fenced_json(description))
        messages = [{"role": "user", "content": text}]
        deadline = self._clock.monotonic() + self._timeout_s
        draft, unreadable = None, ""
        for _ in range(_ASKED):
            generation = await self._generated(messages, deadline)
            try:
                files = read_answer(_value(generation))
            except UnreadableDraft as trouble:
                unreadable = str(trouble)
                complaint: list[dict[str, Any]] = [{"message": unreadable}]
            else:
                problems = (*taken_liberties(files), *await self.problems(files))
                draft = Draft(files=files, problems=problems)
                complaint = list(problems[:_MOST_PROBLEMS_SHOWN])
            if not complaint:
                break
            log.info("draft_has_problems", count=len(complaint), why=complaint[0]["message"])
            repair = _REPAIR.render(problems=fenced_json(complaint))
            said = generation["text"][:MOST_CHARACTERS].encode(errors="replace").decode()
            messages = [messages[0], {"role": "assistant", "content": said}, {"role": "user", "content": repair}]
        if draft is None:
            raise BadModelAnswer(f"The model's answer is no draft: {unreadable}. Ask again, or begin with a template.")
        return draft

    async def _generated(self, messages: list[dict[str, str]], deadline: float) -> dict[str, Any]:
        identifier = uuid4().hex
        context = ToolContext(
            app_id="",
            component_id="",
            request_id=f"draft-{identifier}",
            trace_id=identifier,
            deadline=deadline,
            allowed_tools=(LLM_GENERATE,),
            llm=LlmConfig(),
            configuration={},
            purpose=AUTHOR,
        )
        params: dict[str, Any] = {"messages": messages, "outputFormat": "json", "outputSchema": ANSWER_SCHEMA}
        if self._model is not None:
            params["model"] = self._model
        return await self._mcp_client.call_tool(LLM_GENERATE, params, context)


def _check(description: str) -> None:
    if not description.strip() or len(description) > MOST_DESCRIPTION_CHARACTERS:
        raise ValidationFailed(f"Describe the application in 1 to {MOST_DESCRIPTION_CHARACTERS:,} characters.")
    for _, kind in find_secrets(description.encode(errors="replace")):
        raise ValidationFailed(f"The description holds what looks like {kind}: leave it out, a model is to read it.")


def _value(generation: Mapping[str, Any]) -> Any:
    if "parsed" not in generation:
        first = (generation.get("problems") or [{"message": "it cannot be read"}])[0]
        raise UnreadableDraft(f"{first.get('path') or 'the answer'}: {first['message']}")
    return generation["parsed"]


def _without_readme(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path != README}


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    """As the registry takes them: what is beside the definition (the README) stays out."""
    return {path: text.encode(errors="replace") for path, text in _without_readme(files).items()}
