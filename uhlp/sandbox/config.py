"""The sandbox room's numbers (settings `sandbox.*`)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0)]


class RegistryLogin(BaseModel):
    """Who pulls from a private image registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    username: str
    """Its name there."""

    password: SecretStr
    """The password itself or `secret:NAME`."""


class DockerSettings(BaseModel):
    """The Docker engine that makes sandboxes (settings `sandbox.docker.*`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    """`unix:///path` or `tcp://host:port`; DOCKER_HOST, else unix:///var/run/docker.sock, when it is not given."""

    transport: Literal["auto", "unix", "stdio"] = "auto"
    """How calls reach our runner: a unix socket that the container dials (engines on this machine), or the container's
    attached standard input and output (any engine). auto tries them in this order."""

    user: Annotated[str, Field(pattern=r"^[1-9]\d*:\d+$")] = "65534:65534"
    """User and group of the processes in containers; never root."""

    runtime: str | None = None
    """A container runtime that the engine knows, such as runsc; the engine's default when it is not given."""

    spare_sandboxes: Annotated[int, Field(ge=0, le=16)] = 1
    """Started containers kept ready for each kind in use, so that a first request waits for no container start."""

    pull_timeout_s: Seconds = 600.0
    """How long pulling one image may take."""

    orphan_grace_s: Annotated[float, Field(ge=0)] = 60.0
    """A container with our label that no sandbox of this server owns is removed when it is older than this."""

    image_allow: tuple[str, ...] = ()
    """Patterns (`registry.example:5000/team/*`, `docker.io/library/node:*`) of the images that pools may name; `*` also
    matches slashes. Our runner's image is always allowed. When it is empty: every image that the engine has, and pulls
    from docker.io and the hosts of `registries` alone, because a pull makes the engine speak to whatever host a name
    begins with."""

    registries: dict[str, RegistryLogin] = {}
    """By registry host, as it stands in front of the image's name: `registry.example:5000`."""


class SandboxSettings(BaseModel):
    """Which driver makes sandboxes, and the limits that hold for every pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    driver: Literal["auto", "process", "docker", "swarm"] = "auto"
    """`auto`: docker where an engine answers and has the runner image, else process."""

    allow_unisolated: bool = False
    """In production: run generated code all the same where processes have no walls. Elsewhere they do so unasked, and
    `isolation: none` says so; containers without a wall are refused everywhere."""

    volume_allow: tuple[str, ...] = ()
    """Host folders that pools may mount (`volumeMounts`), with what is below them; none when it is empty."""

    server_url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^/@?#\s]+)*$")] | None = None
    """Where code in pools of users' own images with `network: bridge` reaches this server, such as
    http://172.17.0.1:8080, without a slash at the end. Each call then gets it as `context.mcpEndpoint`, with a token of
    its own as `context.mcpToken`; when it is not given, neither."""

    docker: DockerSettings = DockerSettings()

    cycle_s: Seconds = 10.0
    """Between two looks at pools, engine and containers; a change of an application is acted upon at once."""

    max_queue: Annotated[int, Field(ge=0)] = 256
    """Calls that may wait in one lane of one pool; more are refused at once."""

    model_concurrency: Annotated[int, Field(ge=1)] = 64
    """Model calls that share one worker where the pool names no `concurrency`."""

    spare_workers: Annotated[int, Field(ge=0, le=16)] = 1
    """Workers that a pool has ready beside those that serve, up to its maximum, so that the first call of another
    component waits for no fork: 1 to 2 MiB each. Images of users' own, where a worker is a container, get none."""

    warm_pools: Annotated[int, Field(ge=0)] = 8
    """Pools that get a worker ahead of their first request, after start-up or registration; it ends when it idles."""

    start_timeout_s: Seconds = 10.0
    """How long a sandbox has to start."""

    kill_timeout_s: Seconds = 5.0
    """How long a process or container has to be gone after it was killed."""

    ping_timeout_s: Seconds = 2.0
    """How long a worker has to answer a ping before it is killed."""

    idle_ping_s: Annotated[float, Field(ge=0)] = 10.0
    """A worker that nobody used for this long is asked in each cycle whether it still answers."""

    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """How long `close` waits for calls in flight."""

    backoff_initial_s: Seconds = 0.5
    """The pause after a start that failed; it doubles with every further one."""

    backoff_max_s: Seconds = 30.0
    """The longest such pause."""

    crash_loop_after: Annotated[int, Field(ge=1)] = 5
    """Code that ends its worker this many times in a row, with no answer between, is refused until a later try of it
    is answered; the pauses between tries grow as those between failed starts do."""

    scale_up_busy_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """A pool whose workers are busier than this in two cycles in a row gets one ahead of need, up to its maximum."""

    max_worker_age_s: Seconds = 3600.0
    """An idle worker that is older than this is replaced."""

    recycle_memory_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """A worker that holds more of its pool's memory limit than this is replaced."""

    recycle_growth_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """So is an idle one that has grown by more than this share of the limit since its first calls."""
