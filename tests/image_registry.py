"""A private image registry for tests: Debian's docker-registry on 127.0.0.1, behind a login."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.machine_image import http_client

USERNAME, PASSWORD = "docks", "wharf-42"
_HTPASSWD = f"{USERNAME}:$2y$05$uhlpuhlpuhlpuhlpuhlpuuemd99/0PJ2BK1LCkQrpjsNwjgc8zpxK\n"  # bcrypt of the password
_START_S = 60.0
_SETTINGS = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""


class ImageRegistry:
    """Keeps its port and its images when it is stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "htpasswd").write_text(_HTPASSWD)

    @property
    def host(self) -> str:
        """As it stands in front of an image's name."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        settings, log = self._folder / "config.yml", self._folder / "log"
        settings.write_text(_SETTINGS.format(folder=self._folder, port=self._port))
        with log.open("wb") as opened:
            line = ["docker-registry", "serve", str(settings)]
            self._process = subprocess.Popen(line, stdout=opened, stderr=opened)
        ends_at = time.monotonic() + _START_S
        while time.monotonic() < ends_at and self._process.poll() is None:
            if listening := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text()):
                self._port = int(listening.group(1))
                with suppress(httpx.HTTPError):
                    if httpx.get(f"http://{self.host}/v2/", verify=False).status_code == 401:
                        return
            time.sleep(0.02)
        raise RuntimeError(f"docker-registry does not answer:\n{log.read_text()}")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def take_over(self, engine_url: str, image: str, name: str) -> str:
        """Push a local image as `name` and drop that name from the engine; the full name."""
        full = f"{self.host}/{name}"
        login = json.dumps({"username": USERNAME, "password": PASSWORD, "serveraddress": self.host})
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(login.encode()).decode()}
        repository, _, tag = full.rpartition(":")
        with http_client(engine_url) as engine:
            engine.post(f"/images/{image}/tag", params={"repo": repository, "tag": tag}).raise_for_status()
            answer = engine.post(f"/images/{repository}/push", params={"tag": tag}, headers=headers)
            assert '"error"' not in answer.text, answer.text
            engine.delete(f"/images/{full}").raise_for_status()
        return full


@contextmanager
def image_registry(folder: Path) -> Iterator[ImageRegistry]:
    """A running registry; skips the test where it is not installed (fails where UHLP_REQUIRE_SERVICES=1)."""
    if shutil.which("docker-registry") is None:
        give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up("docker-registry is not installed")
    registry = ImageRegistry(folder)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
