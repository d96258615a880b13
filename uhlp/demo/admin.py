"""The demo's line to its server: the admin REST that everybody has."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from uhlp.demo.processes import DemoFailed


class Admin:
    """JSON over /admin/v1, and the metrics page."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **query: str | int) -> Any:
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._call("POST", path, json=body)

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        return await self._call("PUT", path, json=body)

    async def patch(self, path: str, body: dict[str, Any]) -> Any:
        return await self._call("PATCH", path, json=body)

    async def register(self, folder: Path) -> str:
        """Register the application of a definition folder; its id."""
        files = await asyncio.to_thread(_files_of, folder)
        definition = yaml.safe_load(files["app.yaml"])
        await self.post("/apps", {"definition": definition, "files": files})
        return str(definition["appId"])

    async def model_tokens(self, app_id: str) -> dict[str, tuple[float, float]]:
        """{component: (tokens, US dollars)} of every model call made for it so far, audits and shadows included."""
        async with self._session.get(f"{self._url}/metrics", headers=self._headers) as response:
            text = await response.text()
        totals: dict[str, list[float]] = {}
        for line in text.splitlines():
            for place, name in enumerate(("uhlp_app_model_tokens_total{", "uhlp_app_model_cost_usd_total{")):
                if line.startswith(name) and f'appId="{app_id}"' in line:
                    component = line.split('componentId="', 1)[1].split('"', 1)[0]
                    totals.setdefault(component, [0.0, 0.0])[place] += float(line.rsplit(" ", 1)[1])
        return {component: (sums[0], sums[1]) for component, sums in totals.items()}

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        async with self._session.request(
            method, f"{self._url}/admin/v1{path}", headers=self._headers, **options
        ) as response:
            body = await response.json()
        if response.status >= 400:
            raise DemoFailed(f"{method} {path}: {body['error']['message']}")
        return body


def _files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.parent != folder or path.suffix == ".yaml") and "__pycache__" not in path.parts
    }
