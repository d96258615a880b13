"""A compose file read as far as ours goes, and started through an engine's API: tests have no `docker compose`.

What a service may say stands in `_SERVICE`; a key that is not there fails, because it would not be tried.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from uhlp.jsonschemas import compile_validator

_TEXTS = {"type": "array", "items": {"type": "string"}}
_SERVICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "build": {
            "type": "object",
            "properties": {"context": {"type": "string"}, "dockerfile": {"type": "string"}},
            "required": ["context", "dockerfile"],
            "additionalProperties": False,
        },
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"condition": {"enum": ["service_started", "service_healthy"]}},
                "required": ["condition"],
                "additionalProperties": False,
            },
        },
        "command": _TEXTS,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^[0-9.]+:\d+:\d+$"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^[a-z]+:/[a-z]+$"}},
        "user": {"type": "string", "pattern": r"^\d+:\d+$"},
        "read_only": {"type": "boolean"},
        "tmpfs": _TEXTS,
        "init": {"type": "boolean"},
        "cap_drop": _TEXTS,
        "security_opt": _TEXTS,
        "healthcheck": {
            "type": "object",
            "properties": {
                "test": _TEXTS,
                **{one: {"type": "string", "pattern": r"^\d+s$"} for one in ("interval", "timeout", "start_period")},
                "retries": {"type": "integer", "minimum": 1},
            },
            "required": ["test"],
            "additionalProperties": False,
        },
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
    },
    "required": ["image"],
    "additionalProperties": False,
}
_FILE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "services": {"type": "object", "additionalProperties": _SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "required": ["services"],
    "additionalProperties": False,
}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_compose_file(path: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables filled in; AssertionError names what is missing or not known here."""

    def value(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        given = variables.get(name, "")
        assert given or kind == "-", f"{name}: {text}"
        return given or text

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(below) for key, below in part.items()}
        if isinstance(part, list):
            return [filled(below) for below in part]
        return _VARIABLE.sub(value, part) if isinstance(part, str) else part

    document: dict[str, Any] = filled(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert compile_validator(_FILE).problems(document) == []
    for name, service in document["services"].items():
        assert {one.partition(":")[0] for one in service.get("volumes", ())} <= set(document["volumes"]), name
        assert set(service.get("depends_on", ())) <= set(document["services"]), name
    return document


class ComposedServices:
    """The services of a file as containers of one engine, each reached by the others under its name."""

    def __init__(self, engine: httpx.Client, document: Mapping[str, Any], *, project: str) -> None:
        self._engine = engine
        self._services: Mapping[str, Any] = document["services"]
        self._project = project
        self._addresses: dict[str, str] = {}

    def up(self, *, within_s: float) -> None:
        """Start every service after those that it depends on, once they are as it asks."""
        waiting = dict(self._services)
        while waiting:
            name = next(one for one in waiting if not set(waiting[one].get("depends_on", ())) & set(waiting))
            service = waiting.pop(name)
            for other, on in service.get("depends_on", {}).items():
                if on["condition"] == "service_healthy":
                    self.wait_until_healthy(other, within_s=within_s)
            self._start(name, service)

    def wait_until_healthy(self, name: str, *, within_s: float) -> None:
        """By the container's own health check."""
        deadline = time.monotonic() + within_s
        while (state := self.inspect(name)["State"])["Health"]["Status"] != "healthy":
            assert state["Running"], self.logs(name)
            assert time.monotonic() < deadline, (state, self.logs(name))
            time.sleep(0.1)

    def address(self, name: str) -> str:
        return self._addresses[name]

    def inspect(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._engine.get(f"/containers/{self._container(name)}/json").json()
        return answer

    def logs(self, name: str) -> str:
        query = {"stdout": "1", "stderr": "1"}
        return self._engine.get(f"/containers/{self._container(name)}/logs", params=query).content.decode(
            errors="replace"
        )

    def stop(self, name: str) -> None:
        self._engine.post(f"/containers/{self._container(name)}/stop", params={"t": "20"}).raise_for_status()

    def start(self, name: str) -> None:
        self._engine.post(f"/containers/{self._container(name)}/start").raise_for_status()
        self._addresses[name] = self.inspect(name)["NetworkSettings"]["IPAddress"]

    def remove(self) -> None:
        """Containers and volumes."""
        for name in self._services:
            self._engine.delete(f"/containers/{self._container(name)}", params={"force": "1"})
        for volume in {one for service in self._services.values() for one in service.get("volumes", ())}:
            self._engine.delete(f"/volumes/{self._project}_{volume.partition(':')[0]}")

    def _start(self, name: str, service: Mapping[str, Any]) -> None:
        body = {
            "Image": service["image"],
            "Env": [f"{key}={value}" for key, value in service.get("environment", {}).items()],
            **({"Cmd": service["command"]} if "command" in service else {}),
            **({"User": service["user"]} if "user" in service else {}),
            **({"Healthcheck": _health(service["healthcheck"])} if "healthcheck" in service else {}),
            "HostConfig": {
                "Binds": [f"{self._project}_{one}" for one in service.get("volumes", ())],
                "ReadonlyRootfs": service.get("read_only", False),
                "Tmpfs": dict(one.split(":", 1) for one in service.get("tmpfs", ())),
                "Init": service.get("init", False),
                "CapDrop": service.get("cap_drop", []),
                "SecurityOpt": [one for one in service.get("security_opt", ()) if one != "systempaths=unconfined"],
                **_unmasked(service.get("security_opt", ())),
                "ExtraHosts": [f"{other}:{address}" for other, address in self._addresses.items()],
            },
        }
        answer = self._engine.post("/containers/create", params={"name": self._container(name)}, json=body)
        assert answer.status_code == 201, answer.text
        self.start(name)

    def _container(self, name: str) -> str:
        return f"{self._project}-{name}-1"


def _unmasked(options: list[str]) -> dict[str, Any]:
    """`systempaths=unconfined` is no option of the engine: `docker` makes these two of it."""
    return {"MaskedPaths": [], "ReadonlyPaths": []} if "systempaths=unconfined" in options else {}


def _health(check: Mapping[str, Any]) -> dict[str, Any]:
    second = 1_000_000_000
    times = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod"}
    return {
        "Test": check["test"],
        "Retries": check.get("retries", 3),
        **{name: int(check[key].removesuffix("s")) * second for key, name in times.items() if key in check},
    }
