"""Remote: where an application's definitions are pushed to (stateStoreConfig.params; contracts §1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from uhlp.errors import ValidationFailed

_PARAMS = {"repoUrl", "branch", "credential", "username", "knownHosts"}
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_][A-Za-z0-9_.-]*:[^-:\s][^:\s]*")
_SECRET = re.compile(r"secret:[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_SSH_PORT = 22
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository that git reaches at `url`.

    `credential` is `secret:NAME`: a private key for ssh, a token or password for https (with `username`).
    `known_hosts` holds the host keys that ssh accepts, as in the file of that name; without it ssh's own file counts.
    """

    url: str
    branch: str = "main"
    credential: str | None = None
    username: str = "git"
    known_hosts: str | None = None

    @property
    def is_ssh(self) -> bool:
        return self.url.startswith("ssh://") or _SCP.fullmatch(self.url) is not None

    @property
    def is_http(self) -> bool:
        return self.url.startswith(("https://", "http://"))

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Of a repository elsewhere."""
        if _SCP.fullmatch(self.url):
            return self.url.partition("@")[2].partition(":")[0], _SSH_PORT
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, _SSH_PORT)

    @property
    def path(self) -> Path | None:
        """Of a repository on this machine. git reads `%2e` in a URL as the dot that it stands for."""
        local = _decoded(self.url.removeprefix("file://")) if self.url.startswith("file://") else self.url
        return Path(local) if local.startswith("/") else None

    def lies_in(self, folder: Path) -> bool:
        """Whether it is a repository of this machine below `folder`, links followed. Call it in a thread."""
        return self.path is not None and folder.resolve() in self.path.resolve().parents

    @classmethod
    def of(cls, params: Mapping[str, str]) -> "Remote | None":
        """The remote that the parameters name; None without `repoUrl`. ValidationFailed says what is wrong."""
        unknown = sorted(params.keys() - _PARAMS)
        if unknown:
            raise ValidationFailed(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(_PARAMS))}")
        url = params.get("repoUrl")
        if url is None:
            if params:
                raise ValidationFailed("repoUrl is missing")
            return None
        branch, credential = params.get("branch", "main"), params.get("credential")
        if fault := _fault_of_url(url):
            raise ValidationFailed(f"repoUrl {fault}")
        if not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith(("/", ".", ".lock")):
            raise ValidationFailed("branch is no name of a branch")
        if credential is not None and not _SECRET.fullmatch(credential):
            raise ValidationFailed("credential must be a reference, secret:NAME")
        return cls(url, branch, credential, params.get("username", "git"), params.get("knownHosts"))


def _fault_of_url(url: str) -> str | None:
    """A closed list of forms: git also knows `ext::` and options, which run programs."""
    if not _decoded(url).isprintable() or len(url) > 1024:
        return "has up to 1024 printable characters"
    if url.startswith("/") or _SCP.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        host, user, password, port = parts.hostname or "", parts.username or "", parts.password, parts.port
    except ValueError:
        return "is no URL"
    if port == 0 or not host.isascii() or ("%" in host and ":" not in host):
        return "has no port 0, and a host in ASCII without %"
    if password is not None or (parts.scheme in ("http", "https") and user):
        return "holds a credential: write `credential: secret:NAME`, and `username`"
    if parts.scheme == "file" and not host and parts.path.startswith("/"):
        return None
    if parts.scheme in ("ssh", "https") and host and not host.startswith("-") and not user.startswith("-"):
        return None
    if parts.scheme == "http" and host in _LOOPBACK:
        return None
    return "must be an absolute path, file:///…, ssh://…, user@host:path or https://… (http only on this machine)"


def _decoded(url: str) -> str:
    return unquote(url, errors="surrogateescape")
