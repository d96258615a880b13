"""AppDefinition and what it is made of (seed 003 §3.1.2, contracts §2)."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from uhlp.models.image_name import ImageName
from uhlp.models.mcp_server import McpServerDefinition, ServerName
from uhlp.models.program_path import ProgramPath
from uhlp.models.trigger import Trigger
from uhlp.models.volume_mounts import VolumeMount, read_mounts
from uhlp.models.wire import WireModel

AppId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,62}$")]
ComponentId = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")]
PoolName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
JsonObject = dict[str, Any]

DEFAULT_POOL = "default"
RUNNER_IMAGE = "uhlp-runner"


_MOST_MEMORY_BYTES = 1 << 40


def _memory_bytes(limit: str) -> int:
    number = limit.rstrip("i")
    return int(number[:-1]) << 10 * ("KMG".index(number[-1]) + 1)


def _bounded(limit: str) -> str:
    if _memory_bytes(limit) > _MOST_MEMORY_BYTES:
        raise ValueError("memoryLimit is at most 1024G.")
    return limit


class ResourceLimits(WireModel):
    """Limits of one sandbox: cores as a decimal string up to 1024, memory up to 1024G (K, M, G; powers of 1,024)."""

    cpu_limit: Annotated[
        str, Field(pattern=r"^(([0-9]{1,3}|10[01][0-9]|102[0-3])(\.[0-9]{1,6})?|1024(\.0{1,6})?)$")
    ] = "1"
    memory_limit: Annotated[str, Field(pattern=r"^[0-9]{1,12}[KMG]i?$"), AfterValidator(_bounded)] = "256M"

    @property
    def memory_bytes(self) -> int:
        return _memory_bytes(self.memory_limit)


class PoolDefinition(WireModel):
    """One set of sandboxes of an application."""

    pool_name: PoolName
    docker_image: ImageName = RUNNER_IMAGE
    min_instances: Annotated[int, Field(ge=0, le=1000)] = 0
    max_instances: Annotated[int, Field(ge=1, le=1000)] = 16
    resource_limits: ResourceLimits = ResourceLimits()
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32)] = ()
    network: Literal["none", "bridge"] = "none"
    """`bridge` lets code in the pool's containers reach the network; no other pool can."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    idle_timeout_s: Annotated[float, Field(gt=0)] = 300
    max_requests_per_instance: Annotated[int, Field(ge=1)] = 10_000

    @field_validator("volume_mounts")
    @classmethod
    def _volumes_stand_beside_the_sandbox(cls, mounts: tuple[str, ...]) -> tuple[str, ...]:
        read_mounts(mounts)
        return mounts


_DEFAULT_POOL = PoolDefinition(pool_name=DEFAULT_POOL)
_PROMPT_POOL = PoolDefinition(pool_name="prompts")


def prompt_pool(pool: PoolDefinition) -> PoolDefinition:
    """Where a component of this pool runs its prompt: beside its handlers, unless the pool has an image of its own.

    A prompt is no code of that image's, which need not know what a prompt is.
    """
    return pool if pool.docker_image == RUNNER_IMAGE else _PROMPT_POOL


class SandboxPoolConfig(WireModel):
    pools: tuple[PoolDefinition, ...] = ()


class StateConfig(WireModel):
    type: Literal["git_yaml"] = "git_yaml"
    params: dict[str, str] = {}


class HandlerType(StrEnum):
    """How a component runs today."""

    LLM = "LLM"
    JIT = "JIT"
    WORKFLOW = "WORKFLOW"


class TaskDetails(WireModel):
    """What runs: `prompt_template` names a file in prompts/; `script`, `function` a handler; `workflowId` a workflow.

    A JIT component that keeps its `prompt_template` can be deoptimised to the model.
    """

    prompt_template: str | None = Field(None, alias="prompt_template")
    script: str | None = None
    function: str | None = None
    workflow_id: str | None = None


class RouteMatcher(WireModel):
    path_pattern: Annotated[str, Field(pattern=r"^/", max_length=512)]
    methods: Annotated[
        tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], ...], Field(min_length=1)
    ] = ("POST",)


class OptimizationAction(StrEnum):
    TRIGGER_JIT = "ACTION_TRIGGER_JIT"
    RECOMMEND_JIT = "ACTION_RECOMMEND_JIT"
    COMPRESS_PROMPT = "ACTION_COMPRESS_PROMPT"


class MetricCondition(WireModel):
    """A CEL expression over the component's window, for example `count(requests) > 600 && avg(latency_ms) > 500`."""

    expression: Annotated[str, Field(min_length=1, max_length=2000)]
    """Functions and what they count are in [Rules](rules.md)."""


class OptimizationRule(WireModel):
    """When what is started (seed 003 §3.1.2; contracts §2)."""

    description: str = ""
    """Stands in reasons and recommendations."""
    condition: MetricCondition
    action: OptimizationAction = OptimizationAction.TRIGGER_JIT
    """Write a handler, recommend one, or shorten the prompt."""
    action_params: JsonObject = {}
    """`windowS`: the seconds that it looks back; `hold`: cycles in a row in which it must be true."""
    prefer_llm_flexibility: bool | None = None
    """True: only recommend a handler. Not set: what the component says, else the application."""


class OptimizationConfig(WireModel):
    enabled: bool = True
    rules: tuple[OptimizationRule, ...] = ()
    prefer_llm_flexibility: bool | None = None


Trust = Literal["prove-first", "serve-and-check"]


class ComponentOptimization(WireModel):
    """How far a component may change its implementation (contracts §2).

    `usdPerSecondSaved` is what a second less of waiting is worth for this component; without it the server's
    `evolution.usd_per_second_saved` holds.
    """

    rules: tuple[OptimizationRule, ...] = ()
    prefer_llm_flexibility: bool | None = None
    mode: Literal["auto", "recommend", "off"] = "auto"
    comparator: dict[str, Any] = {}
    epsilon: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    trust: Trust = "prove-first"
    max_wrong_answers: Annotated[int, Field(ge=1)] = 10
    decision_field: str | None = None
    usd_per_second_saved: Annotated[float, Field(ge=0, le=1e6)] | None = None


class ComponentDefinition(WireModel):
    """One unit of an application: a prompt, a handler or a workflow, and the route that reaches it."""

    component_id: ComponentId
    description: str = ""
    handler_type: HandlerType = HandlerType.LLM
    target_pool_name: PoolName = DEFAULT_POOL
    task_details: TaskDetails = TaskDetails()
    expected_result_format: Literal["generic", "httpResponse", "error"] = "generic"
    route_matcher: RouteMatcher | None = None
    configuration_overrides: JsonObject = {}
    input_schema: JsonObject | str | None = None
    output_schema: JsonObject | str | None = None
    effects: Literal["none", "read", "write"] | None = None
    tools: Annotated[tuple[str, ...], Field(max_length=256)] = ()
    optimization: ComponentOptimization = ComponentOptimization()
    timeout_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 30_000
    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    triggers: Annotated[tuple[Trigger, ...], Field(max_length=32)] = ()

    @property
    def effective_effects(self) -> Literal["none", "read", "write"]:
        """`effects` as given; by default none without tools, write with tools (nothing is known of what they do)."""
        return self.effects or ("write" if self.tools else "none")


class ComponentRegistry(WireModel):
    components: tuple[ComponentDefinition, ...] = ()


class ApiKeyDefinition(WireModel):
    """An application key: only its argon2id hash is kept."""

    key_id: Annotated[str, Field(pattern=r"^[a-z0-9]{6,32}$")]
    key_hash: str
    description: str = ""
    permissions: tuple[str, ...] = ("invoke:*",)
    enabled: bool = True


class InterAppPermission(WireModel):
    allowed_source_app_id: AppId
    allowed_events: tuple[str, ...] = ()


class UserRoleDefinition(WireModel):
    role_name: str
    permissions: tuple[str, ...] = ()


class SecurityConfig(WireModel):
    api_keys: tuple[ApiKeyDefinition, ...] = ()
    inter_app_permissions: tuple[InterAppPermission, ...] = ()
    user_roles: dict[str, UserRoleDefinition] = {}
    user_assignments: dict[str, tuple[str, ...]] = {}


class ModelBudget(WireModel):
    usd_per_day: Annotated[float, Field(ge=0)] | None = None
    tokens_per_day: Annotated[int, Field(ge=0)] | None = None


class ModelCache(WireModel):
    """Answers that are given again to exactly the same question, at no cost: for what is served alone."""

    enabled: bool = False
    max_age_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 3600
    max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class LlmConfig(WireModel):
    """Which models an application uses; what is left out comes from the server's settings.

    `fallbacks` are asked where the first choice is down: each `provider/model`, a provider, or a model of the default
    provider.
    """

    provider: str | None = None
    model: str | None = None
    coder_model: str | None = None
    judge_model: str | None = None
    parameters: JsonObject = {}
    fallbacks: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None = None
    budget: ModelBudget = ModelBudget()
    cache: ModelCache = ModelCache()


class AppDefinition(WireModel):
    """A whole application (seed 003 §3.1.2). Only `appId` is required."""

    app_id: AppId
    display_name: str = ""
    version: str = "1"
    sandbox_pools: SandboxPoolConfig = SandboxPoolConfig()
    state_store_config: StateConfig = StateConfig()
    initial_component_registry: ComponentRegistry = ComponentRegistry()
    security_config: SecurityConfig = SecurityConfig()
    configuration: JsonObject = {}
    optimization_config: OptimizationConfig = OptimizationConfig()
    llm: LlmConfig = LlmConfig()
    mcp_servers: Annotated[dict[ServerName, McpServerDefinition], Field(max_length=64)] = {}
    commands: Annotated[tuple[ProgramPath, ...], Field(max_length=64)] = ()
    """Programs that components may run with core.linux.executeCommand, of those that the server's settings allow."""

    public: bool = False

    @property
    def pools_in_use(self) -> tuple[PoolDefinition, ...]:
        """Every pool that some component runs in."""
        components = self.initial_component_registry.components
        pools = [pool for one in components if (pool := self.pool(one.target_pool_name)) is not None]
        of_prompts = [prompt_pool(pool) for pool in pools]
        return tuple({pool.pool_name: pool for pool in (*pools, *of_prompts)}.values())

    def pool(self, pool_name: str) -> PoolDefinition | None:
        """The pool of this name; the default pool exists without being written."""
        for pool in self.sandbox_pools.pools:
            if pool.pool_name == pool_name:
                return pool
        return _DEFAULT_POOL if pool_name == DEFAULT_POOL else None
