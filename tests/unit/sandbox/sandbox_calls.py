"""Small requests for sandbox tests."""

import hashlib
from itertools import count
from typing import Any

from uhlp.clock import SystemClock
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.manager import SandboxManager

CODE = b"def handle(inputs, context):\n    return inputs\n"
SHA256 = hashlib.sha256(CODE).hexdigest()
ARTIFACTS = {SHA256: CODE}
POOL = PoolDefinition(pool_name="default", max_instances=2)

_ids = count(1)


def execute_request(
    data: dict[str, Any] | None = None,
    *,
    handler_type: str = "JIT",
    request_id: str = "",
    component_id: str = "parse",
    code: bytes = CODE,
) -> dict:
    return {
        "requestId": request_id or f"r{next(_ids)}",
        "requestData": {"source": "http", "input": data or {}},
        "context": {
            "appId": "shop",
            "componentId": component_id,
            "handlerType": handler_type,
            "revision": "0" * 40,
            "task": {
                "artifact": {"sha256": hashlib.sha256(code).hexdigest(), "path": "handler.py"},
                "function": "handle",
            },
            "configuration": {},
            "applicationInfo": {"deploymentMode": "development"},
            "deadlineMs": 5000,
        },
    }


def manager_of(driver: Driver, **settings: Any) -> SandboxManager:
    given = {name: settings.pop(name) for name in ("desired", "runs_code", "meter") if name in settings}
    clock = settings.pop("clock", None) or SystemClock()
    config = SandboxSettings(**{"drain_s": 2.0, "spare_workers": 0, **settings})
    return SandboxManager(driver=driver, config=config, clock=clock, **{"meter": NullMeter(), **given})
