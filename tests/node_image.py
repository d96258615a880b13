"""The example sandbox image of tests/node_sandbox, and its server as a process of this machine."""

import asyncio
import hashlib
import io
import os
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.machine_image import http_client, image_of
from tests.node_programs import node
from uhlp.sandbox.driver import ExitReason, HttpAddress

FOLDER = Path(__file__).parent / "node_sandbox"
TOKEN = "a-token-of-the-tests"


def node_image(engine_url: str) -> str:
    """`uhlp-test-node:<hash>`, built from the example's own Dockerfile on the tests' Node.js."""
    executable = node()
    base = image_of(
        engine_url,
        f"uhlp-test-node-base:{executable.stat().st_mtime_ns:x}",
        executables={executable: Path("/usr/bin/node")},  # its own place may be below /tmp, which sandboxes do not see
    )
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name in ("Dockerfile", "server.js"):
            tar.add(FOLDER / name, name)
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in ("Dockerfile", "server.js"))).hexdigest()
    name = f"uhlp-test-node:{digest[:12]}"
    with http_client(engine_url) as engine:
        if engine.get(f"/images/{name}/json").status_code == 200:
            return name
        query = {"t": name, "buildargs": f'{{"BASE_IMAGE":"{base}"}}', "rm": "1", "forcerm": "1"}
        headers = {"Content-Type": "application/x-tar"}
        answer = engine.post("/build", params=query, content=context.getvalue(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert '"error"' not in answer.text, answer.text
    return name


@dataclass
class NodeProcess:
    """A worker: the example's server on 127.0.0.1, started by the test and killed by its id."""

    process: asyncio.subprocess.Process
    endpoint: HttpAddress
    worker_id: str = "node"

    @classmethod
    async def start(cls, **environment: str) -> "NodeProcess":
        process = await asyncio.create_subprocess_exec(
            node(),
            FOLDER / "server.js",
            env={"PORT": "0", "HOST": "127.0.0.1", "UHLP_TOKEN": TOKEN, **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 10)
        return cls(process, HttpAddress(f"http://127.0.0.1:{int(line.split()[-1])}", TOKEN))

    async def kill(self) -> ExitReason:
        was_running = self.process.returncode is None
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        return "killed" if was_running else "exited"

    async def memory_bytes(self) -> int:
        if self.process.returncode is not None:
            return 0
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]  # noqa: ASYNC240 - no disk behind it
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
