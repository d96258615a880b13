"""Prompt templates as files (contracts §3)."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uhlp.models.wire import WireModel


class PromptSection(WireModel):
    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    body: str
    compressible: bool = True


class PromptTemplate(WireModel):
    """`prompts/<name>.yaml`: a Jinja2 template, whole or in sections; its variables are the component's input."""

    description: str = ""
    model: str | None = None
    parameters: dict[str, Any] = {}
    template: str | None = None
    sections: tuple[PromptSection, ...] = ()
    output_format: Literal["json", "text", "yaml"] = "json"
    output_schema: dict[str, Any] | None = None
    examples: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.template is None) == (not self.sections):
            raise ValueError("give either `template` or `sections`")
        return self
