"""RemoteGit: git's own program, where another repository is talked to. It can be ended, so nothing waits for ever."""

import asyncio
import os
import shlex
import signal
import tempfile
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.errors import RemoteUnavailable
from uhlp.state.remote import Remote
from uhlp.state.remote_reach import AMONG_OUR_OWN, RemoteReach

FETCHED = "refs/uhlp/remote"
"""Where the remote's branch stands as it was fetched last."""

_KEPT = frozenset({"GIT_SSL_CAINFO", "GIT_SSL_CAPATH"})
"""Certificates of an authority of one's own."""
_MOST_REASON = 300


class RemoteGit:
    """Fetches and pushes with `git`, which reads no configuration of this machine and asks nobody.

    Credentials reach it through a private file or its environment, never its arguments. It dials the address that
    `reach` has checked, whatever the host's name means a moment later; without `reach` remotes are the operator's own.
    Every call ends within `timeout_s`. Raises RemoteUnavailable when the remote does not answer or does not let us in.
    """

    def __init__(
        self,
        *,
        secrets: DefinitionSecrets | None = None,
        reach: RemoteReach | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._reach = reach
        self._secrets = secrets
        self._timeout_s = timeout_s

    async def fetch(self, repository: Path, remote: Remote) -> None:
        """Bring the remote's branch to FETCHED; FETCHED goes when the remote has no such branch yet."""
        found = await self._run(repository, remote, "ls-remote", "--", remote.url, f"refs/heads/{remote.branch}")
        if not found.strip():
            await self._run(repository, remote, "update-ref", "-d", FETCHED)
            return
        refs = f"+refs/heads/{remote.branch}:{FETCHED}"
        await self._run(repository, remote, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--",
                        remote.url, refs)  # fmt: skip

    async def push(self, repository: Path, remote: Remote, revision: str) -> str | None:
        """Move the remote's branch forward to `revision`; why the remote refused it, None when it took it."""
        refs = f"{revision}:refs/heads/{remote.branch}"
        told = await self._run(repository, remote, "push", "--porcelain", "--", remote.url, refs, refusable=True)
        refused = [line for line in told.splitlines() if line.startswith("!")]
        return refused[0].split("\t")[-1] if refused else None

    async def _run(self, repository: Path, remote: Remote, *arguments: str, refusable: bool = False) -> str:
        if await asyncio.to_thread(remote.lies_in, repository.parent):
            raise RemoteUnavailable(AMONG_OUR_OWN)
        addresses = await self._addresses(repository.stem, remote)
        with tempfile.TemporaryDirectory(prefix="uhlp-git-") as private:
            environment = await asyncio.to_thread(self._environment, repository.stem, remote, addresses, Path(private))
            command = ["git", "-C", str(repository), "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
                       "-c", "http.followRedirects=false", *_resolved(remote, addresses), *arguments]  # fmt: skip
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise RemoteUnavailable(f"git cannot be started: {error.strerror}; install git") from error
            try:
                async with asyncio.timeout(self._timeout_s):
                    out, err = await process.communicate()
            except TimeoutError:
                raise RemoteUnavailable(f"{remote.url} does not answer within {self._timeout_s:g} s") from None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        told = out.decode(errors="replace")
        if process.returncode and not (refusable and "\n!" in f"\n{told}"):
            raise RemoteUnavailable(f"{remote.url}: {_reason(err.decode(errors='replace'))}")
        return told

    async def _addresses(self, app_id: str, remote: Remote) -> tuple[str, ...]:
        """Those that git may dial; none where it looks for them itself, or for a path."""
        if self._reach is None:
            return ()
        if reason := await asyncio.to_thread(self._reach.refusal, app_id, remote):
            raise RemoteUnavailable(reason)
        return () if remote.path is not None else await self._reach.addresses(remote)

    def _environment(self, app_id: str, remote: Remote, addresses: tuple[str, ...], private: Path) -> dict[str, str]:
        inherited = os.environ.items()
        environment = {name: value for name, value in inherited if name in _KEPT or not name.startswith("GIT_")}
        environment |= {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file:ssh:https:http",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "LC_ALL": "C.UTF-8",
        }
        secret = None
        if remote.credential is not None:
            secret = None if self._secrets is None else self._secrets.resolve(app_id, remote.credential)
            if secret is None:
                raise RemoteUnavailable(f"{remote.url}: there is no {remote.credential} for {app_id}")
        if remote.is_ssh:
            environment["GIT_SSH_COMMAND"] = _ssh(remote, secret, addresses, private)
        elif remote.is_http and secret is not None:
            basic = b64encode(f"{remote.username}:{secret}".encode()).decode()
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "http.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            }
        return environment


def _resolved(remote: Remote, addresses: tuple[str, ...]) -> list[str]:
    """Has git's HTTP client dial these addresses; TLS and the Host header keep the name. Of git 2.37 and newer."""
    if not remote.is_http or not addresses:
        return []
    host, port = remote.host_and_port
    listed = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
    return ["-c", f"http.curloptResolve={host}:{port}:{listed}"]


def _ssh(remote: Remote, secret: str | None, addresses: tuple[str, ...], private: Path) -> str:
    options = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=10"]
    if addresses:
        host, port = remote.host_and_port
        known_as = host if port == 22 else f"[{host}]:{port}"
        options += [f"-oHostName={addresses[0]}", f"-oHostKeyAlias={known_as}", "-oCheckHostIP=no"]
    if secret is not None:
        key = private / "key"
        key.touch(mode=0o600)
        key.write_text(secret.strip() + "\n", encoding="utf-8")
        options += ["-oIdentitiesOnly=yes", "-i", str(key)]
    if remote.known_hosts is not None:
        hosts = private / "known_hosts"
        hosts.write_text(remote.known_hosts.strip() + "\n", encoding="utf-8")
        options += [f"-oUserKnownHostsFile={hosts}", "-oGlobalKnownHostsFile=/dev/null"]
    return shlex.join(options)


def _reason(stderr: str) -> str:
    """git's own word for what went wrong."""
    if "could not read Username" in stderr or "could not read Password" in stderr:
        return "it asks for a credential, or does not accept this one; check `credential` and `username`"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines or ["git failed"]
    return said[0][:_MOST_REASON]
