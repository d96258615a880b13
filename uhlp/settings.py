"""Settings: UHLP_* variables (`__` between levels), `uhlp.toml`, defaults; in this order, unknown names refused.

Rooms know only their own part; this file puts them together. OPENAI_API_KEY, ANTHROPIC_API_KEY and OLLAMA_HOST alone
configure a model provider.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from uhlp.errors import ValidationFailed
from uhlp.evolution.config import EvolutionConfig
from uhlp.llm.config import LlmSettings
from uhlp.metrics.config import MetricsConfig
from uhlp.models.definition import OptimizationRule
from uhlp.registry.config import RegistrySettings
from uhlp.sandbox.config import SandboxSettings
from uhlp.state.config import RuntimeSettings
from uhlp.web.config import WebSettings

PREFIX = "UHLP_"
SETTINGS_FILE = "uhlp.toml"
_KNOWN_BESIDE = frozenset(
    {"UHLP_URL", "UHLP_ADMIN_TOKEN", "UHLP_REQUIRE_SERVICES", "UHLP_DEOPT_EVERY_N", "UHLP_ALWAYS_SHADOW"}
)
"""Variables with our prefix that are no settings of the server."""


class OptimizationSettings(BaseModel):
    """Rules that hold for every application."""

    rules: tuple[OptimizationRule, ...] = ()


class LogSettings(BaseModel):
    """`json` lines for machines, `text` for people."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """Everything that can be set before start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        toml_file=SETTINGS_FILE,
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Path("uhlp-data")
    admin_token: SecretStr | None = None
    deployment_mode: Literal["development", "staging", "production"] = "development"
    runtime: RuntimeSettings = RuntimeSettings()
    sandbox: SandboxSettings = SandboxSettings()
    llm: LlmSettings = LlmSettings()
    evolution: EvolutionConfig = EvolutionConfig()
    optimization: OptimizationSettings = OptimizationSettings()
    configuration: dict[str, Any] = Field(default_factory=dict)
    metrics: MetricsConfig = MetricsConfig()
    limits: WebSettings = WebSettings()
    registry: RegistrySettings = RegistrySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force. ValidationFailed names every variable or key that is unknown or wrong."""
    environment = os.environ if environment is None else environment
    _refuse_unknown_variables(environment)
    try:
        settings = Settings()
    except ValidationError as error:
        problems = [
            {"path": ".".join(str(part) for part in one["loc"]), "message": one["msg"]} for one in error.errors()
        ]
        text = "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems)
        raise ValidationFailed(f"The settings are not valid: {text}", details={"problems": problems}) from None
    return settings.model_copy(update={"llm": settings.llm.with_environment(environment)})


def describe(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """{name: {value, origin}} for every setting; secrets are masked. Origin: environment, uhlp.toml or default."""
    environment = os.environ if environment is None else environment
    in_file = dict(_leaves(TomlConfigSettingsSource(Settings)()))
    described = {}
    for name, value in _leaves(settings.model_dump(mode="json")):
        variable = PREFIX + name.upper().replace(".", "__")
        if any(one.upper() == variable or one.upper().startswith(variable + "__") for one in environment):
            origin = "environment"
        elif name in in_file:
            origin = SETTINGS_FILE
        elif name.startswith("llm.providers."):
            origin = "environment"
        else:
            origin = "default"
        described[name] = {"value": value, "origin": origin}
    return described


def admin_token_of(settings: Settings) -> tuple[str, bool]:
    """(token, whether it was made just now). Made at first start, kept in `<data>/admin_token`, mode 0600.

    ValidationFailed in production, where no token is made.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value(), False
    path = settings.data_dir / "admin_token"
    if path.is_file():
        return path.read_text(encoding="utf-8").strip(), False
    if settings.deployment_mode == "production":
        raise ValidationFailed("In production the admin token is not generated: set UHLP_ADMIN_TOKEN.")
    token = f"uhlp-admin-{secrets.token_urlsafe(24)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token, True


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    fields = set(Settings.model_fields)
    for variable in environment:
        if not variable.upper().startswith(PREFIX) or variable.upper() in _KNOWN_BESIDE:
            continue
        first = variable[len(PREFIX) :].lower().split("__")[0]
        if first not in fields:
            known = ", ".join(sorted(PREFIX + name.upper() for name in fields))
            raise ValidationFailed(f"{variable} is not a setting; known are {known} (with __ between levels).")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
