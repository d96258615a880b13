"""Settings: UHLP_* variables (`__` between levels), `uhlp.toml`, defaults; in this order, unknown names refused.

Rooms know only their own part; this file puts them together. OPENAI_API_KEY, ANTHROPIC_API_KEY and OLLAMA_HOST alone
configure a model provider.
"""

import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_snake
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from uhlp.access.definition_secrets import SecretSettings
from uhlp.errors import ValidationFailed
from uhlp.evals.config import EvalSettings
from uhlp.evolution.alerts_config import AlertSettings
from uhlp.evolution.config import EvolutionConfig
from uhlp.execution.workflow.config import WorkflowSettings
from uhlp.llm.config import LlmSettings
from uhlp.mailbox.config import MailboxSettings
from uhlp.metrics.config import MetricsConfig
from uhlp.models.definition import OptimizationRule
from uhlp.prompts.overrides.config import OverrideSettings
from uhlp.registry.config import RegistrySettings
from uhlp.routing.config import SlotSettings
from uhlp.sandbox.config import SandboxSettings
from uhlp.state.config import RemoteSettings, RuntimeSettings
from uhlp.tools.command_settings import CommandSettings
from uhlp.tools.gateway.config import McpSettings
from uhlp.tracing.config import TracingSettings
from uhlp.web.config import UserSettings, WebSettings

PREFIX = "UHLP_"
SETTINGS_FILE = Path("uhlp.toml")
_KNOWN_BESIDE = frozenset({"UHLP_URL", "UHLP_ADMIN_TOKEN", "UHLP_REQUIRE_SERVICES", "UHLP_TEST_DOCKER_HOST"})
"""Variables with our prefix that are no settings of the server."""

_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class OptimizationSettings(BaseModel):
    """Rules that hold for every application."""

    rules: tuple[OptimizationRule, ...] = ()
    """They come before those of applications and components."""


class LimitSettings(WebSettings, SlotSettings):
    """What one request, and what all of them, may take."""


class LogSettings(BaseModel):
    """`json` lines for machines, `text` for people."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    keep_lines: Annotated[int, Field(ge=0, le=100_000)] = 2_000
    """The newest lines, kept in memory for `uhlp logs`."""


def _domain(given: str) -> str:
    """In lower case, without the dot at the end. ValueError when it is no domain: a port, a scheme, an address."""
    domain = given.lower().removesuffix(".")
    if len(domain) > 189 or not _DOMAIN.fullmatch(domain):  # an application's id takes 64 of the 253
        raise ValueError("give a domain alone, such as apps.example.com")
    return domain


_OF_DEVELOPMENT: dict[tuple[str, str], Any] = {
    ("mcp", "allow_hosts"): ["*"],
    ("remotes", "allow_hosts"): ["*"],
    ("remotes", "paths"): {"*": ["/"]},
    ("secrets", "applications"): {"*": ["*"]},
}


class Settings(BaseSettings):
    """Everything that can be set before start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Path("uhlp-data")
    """Everything that the server keeps: definitions, ledger, samples, messages. One server at a time."""

    admin_token: Annotated[SecretStr, Field(min_length=1)] | None = None
    """The token of the first owner. Not given: made at the first start and kept in `<data_dir>/admin_token`; in
    production the server does not start without it."""

    deployment_mode: Literal["development", "staging", "production"] = "development"
    """`production` makes no token, refuses sandboxes without walls, and closes /metrics and /record to those without a
    token. In `development` whoever writes a definition is trusted: unless they are set, `mcp.allow_hosts`,
    `remotes.allow_hosts`, `remotes.paths` and `secrets.applications` allow everything, elsewhere nothing. Components
    read the mode in their context."""

    base_domain: Annotated[str, AfterValidator(_domain)] | None = None
    """Applications are reached at `<appId>.<base_domain>` too, whatever the port; a wildcard in DNS leads there."""
    runtime: RuntimeSettings = RuntimeSettings()
    sandbox: SandboxSettings = SandboxSettings()
    commands: CommandSettings = CommandSettings()
    llm: LlmSettings = LlmSettings()
    mcp: McpSettings = McpSettings()
    secrets: SecretSettings = SecretSettings()
    remotes: RemoteSettings = RemoteSettings()
    evolution: EvolutionConfig = EvolutionConfig()
    alerts: AlertSettings = AlertSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    configuration: dict[str, Any] = Field(default_factory=dict)
    """What components of every application may read as configuration; applications and components override it."""

    mailbox: MailboxSettings = MailboxSettings()
    overrides: OverrideSettings = OverrideSettings()
    evals: EvalSettings = EvalSettings()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingSettings = TracingSettings()
    limits: LimitSettings = LimitSettings()
    users: UserSettings = UserSettings()
    workflows: WorkflowSettings = WorkflowSettings()
    registry: RegistrySettings = RegistrySettings()
    log: LogSettings = LogSettings()
    deopt_every_n: Annotated[int, Field(ge=1)] | None = None
    """For tests under stress: the model answers every n-th request that a handler would have answered."""
    always_shadow: bool = False
    """For tests under stress: every answer of a handler is held against the reference."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # read_settings alone looks around; an instance made here is what it is given


def read_settings(environment: Mapping[str, str] = os.environ, file: Path = SETTINGS_FILE) -> Settings:
    """The settings in force. ValidationFailed names every variable or key that is unknown or wrong."""
    _refuse_unknown_variables(environment)
    values = _merged(_from_file(file), _from_variables(environment))
    if values.get("deployment_mode", "development") == "development":
        _trust_definitions(values)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems = [
            {"path": path, "message": _no_setting(path) if one["type"] == "extra_forbidden" else one["msg"]}
            for one in error.errors()
            for path in [_path(one["loc"], values)]
        ]
        text = "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems)
        raise ValidationFailed(f"The settings are not valid: {text}", details={"problems": problems}) from None
    return settings.model_copy(update={"llm": settings.llm.with_environment(environment)})


def _path(steps: Sequence[int | str], values: Any) -> str:
    """A setting's name. Pydantic puts the `kind` of a provider among the steps, which is none of them."""
    path = []
    for step in steps:
        if isinstance(values, Mapping) and values.get("kind") == step:
            continue
        path.append(str(step))
        values = values.get(step) if isinstance(values, Mapping) else None
    return ".".join(path)


def describe(
    settings: Settings, environment: Mapping[str, str] = os.environ, file: Path = SETTINGS_FILE
) -> dict[str, dict[str, Any]]:
    """{name: {value, origin}} for every setting; secrets are masked. Origin: environment, uhlp.toml or default."""
    in_environment, in_file = _names(_from_variables(environment)), _names(_from_file(file))
    described = {}
    for name, value in _leaves(settings.model_dump(mode="json")):
        if to_snake(name) in in_environment:
            origin = "environment"
        elif to_snake(name) in in_file:
            origin = file.name
        elif name.startswith("llm.providers."):  # OPENAI_API_KEY and its like
            origin = "environment"
        else:
            origin = "default"
        shown = _PASSWORD_IN_URL.sub("**********", value) if isinstance(value, str) else value
        described[name] = {"value": shown, "origin": origin}
    return described


def admin_token_of(settings: Settings) -> tuple[str, bool]:
    """(token, whether it was made just now). Made at first start, kept in `<data>/admin_token`, mode 0600.

    ValidationFailed in production, where no token is made.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value(), False
    path = settings.data_dir / "admin_token"
    kept = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if kept:
        return kept, False
    if settings.deployment_mode == "production":
        raise ValidationFailed("In production the admin token is not generated: set UHLP_ADMIN_TOKEN.")
    token = f"uhlp-admin-{secrets.token_urlsafe(24)}"
    _write_secret(path, token)
    return token, True


def _write_secret(path: Path, secret: str) -> None:
    """All of it or nothing, and never readable by others: an empty file would be an empty token."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(unfinished).replace(path)


def _from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the variables say, as nested settings; an empty variable says nothing."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environment.items() if value}
    try:
        return source()
    except SettingsError as error:
        raise ValidationFailed(f"The settings are not valid: {error}.") from None


def _trust_definitions(values: dict[str, Any]) -> None:
    """What is said nowhere else is allowed: on a developer's own machine MCP servers and remotes are there, too."""
    for (section, name), allowed in _OF_DEVELOPMENT.items():
        within = values.setdefault(section, {})
        if isinstance(within, dict):
            within.setdefault(name, allowed)


def _no_setting(path: str) -> str:
    """What is said of an unknown name within a known one."""
    above, _, last = path.rpartition(".")
    names = (name.removeprefix(f"{above}.") for name, _ in _leaves(Settings.model_construct().model_dump()))
    close = [f"{above}.{name}" for name in get_close_matches(last, names, n=1)]
    return f"there is no such setting; {f'did you mean {close[0]}? ' if close else ''}`uhlp settings` lists all"


def _from_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValidationFailed(f"{file.name} cannot be read: {error}") from None


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    fields = set(Settings.model_fields)
    for variable in environment:
        if not variable.upper().startswith(PREFIX) or variable.upper() in _KNOWN_BESIDE:
            continue
        first = variable[len(PREFIX) :].lower().split("__")[0]
        if first not in fields:
            known = ", ".join(sorted(PREFIX + name.upper() for name in fields))
            raise ValidationFailed(f"{variable} is not a setting; known are {known} (with __ between levels).")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `above` winning leaf by leaf."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[name] = _merged(under, value)
        else:
            merged[name] = value
    return merged


def _names(values: Mapping[str, Any]) -> set[str]:
    return {to_snake(name) for name, _ in _leaves(values)}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
