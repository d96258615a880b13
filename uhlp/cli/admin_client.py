"""The CLI's line to a running server: admin REST, as the administrator."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from uhlp.cli.failure import NOT_ASKED, CommandError, ServerAway, place_of
from uhlp.cli.nearest import hint

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA_DIR = "uhlp-data"
SHOWN_PROBLEMS = 20
ASKS_A_SERVER = (
    f"Asks the server at UHLP_URL ({DEFAULT_URL}) as the administrator: UHLP_ADMIN_TOKEN, else the token in "
    f"UHLP_DATA_DIR ({DEFAULT_DATA_DIR}). Or: uhlp --url URL --token TOKEN COMMAND."
)
"""What the help of every command with an AdminClient says."""


def data_dir() -> Path:
    """The data directory that `uhlp serve` would use here."""
    return Path(os.environ.get("UHLP_DATA_DIR", DEFAULT_DATA_DIR))


def server_url() -> str:
    """UHLP_URL without a slash at its end; `host:port` stands for http://host:port."""
    url = (os.environ.get("UHLP_URL") or DEFAULT_URL).rstrip("/")
    return url if "://" in url else f"http://{url}"


def admin_token() -> str:
    """UHLP_ADMIN_TOKEN, else the token that the server in this data directory generated."""
    token = os.environ.get("UHLP_ADMIN_TOKEN")
    if token:
        return token
    try:
        return (data_dir() / "admin_token").read_text().strip()
    except OSError:
        raise CommandError(
            "there is no admin token",
            hint="set UHLP_ADMIN_TOKEN, or UHLP_DATA_DIR to the server's data directory (it holds admin_token)",
            status=NOT_ASKED,
        ) from None


class AdminClient:
    """JSON in, JSON out, under /admin/v1. Every failure becomes CommandError."""

    def __init__(self, *, timeout_s: float = 60.0) -> None:
        import httpx

        self.url = server_url()
        try:
            self._http: httpx.Client = httpx.Client(
                base_url=f"{self.url}/admin/v1",
                headers={"Authorization": f"Bearer {admin_token()}"},
                timeout=timeout_s,
                trust_env=False,
                # Loading certificates takes time, and without TLS there is none to check.
                verify=not self.url.startswith("http://"),
            )
        except httpx.InvalidURL as error:
            raise CommandError(
                f"{self.url} is no URL: {error}", hint=f"for example {DEFAULT_URL}", status=NOT_ASKED
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, json=body)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("PUT", path, json=body)

    def delete(self, path: str, **params: Any) -> dict[str, Any]:
        return self._call("DELETE", path, params=params)

    def check_app(self, app: str | None) -> None:
        """CommandError with the nearest name when there is no such application."""
        if app is not None:
            self.get(f"/apps/{app}/status")

    def find(self, path: str) -> dict[str, Any] | None:
        """What is there, or None when nothing is."""
        response = self._send("GET", path)
        return None if response.status_code == 404 else self._read(response)

    def download(self, path: str) -> Iterator[bytes]:
        """What is there, piece by piece, however long it is."""
        import httpx

        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    self._read(response)
                yield from response.iter_bytes()
        except httpx.ConnectError:
            raise self._nobody() from None
        except httpx.HTTPError as error:
            raise ServerAway(f"{self.url} did not answer to the end: {error or type(error).__name__}") from None

    def _nobody(self) -> ServerAway:
        return ServerAway(
            f"no server answers at {self.url}", hint="start one with `uhlp serve`, or set UHLP_URL to another"
        )

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return self._read(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> "httpx.Response":
        import httpx

        try:
            return self._http.request(method, path, **options)
        except httpx.ConnectError:
            raise self._nobody() from None
        except httpx.HTTPError as error:
            raise ServerAway(f"{self.url} did not answer: {error or type(error).__name__}") from None

    def _read(self, response: "httpx.Response") -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            what = f"{self.url} answered {response.status_code} without JSON; is it UHLP?"
            raise CommandError(what, status=NOT_ASKED) from None
        if response.is_success and isinstance(body, dict):
            return body
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            raise CommandError(f"{self.url} answered {response.status_code}")
        failure = _failure(response.status_code, error)
        if in_the_way := (error.get("details") or {}).get("candidateId"):
            failure.hint = f"uhlp show {in_the_way}"
        elif not failure.hint:
            failure.hint = hint(str(error.get("code")), unquote(response.request.url.path), self._peek)
        raise failure

    def _peek(self, path: str) -> dict[str, Any] | None:
        """What is there, for a hint: None for whatever goes wrong."""
        import httpx

        try:
            response = self._http.get(path)
            body = response.json()
        except (httpx.HTTPError, ValueError):
            return None
        return body if response.is_success and isinstance(body, dict) else None


def _failure(status: int, error: dict[str, Any]) -> CommandError:
    """One problem stands in the message; several are listed below a line that counts them."""
    if status == 401:
        todo = "set UHLP_ADMIN_TOKEN to an admin token of this server, or UHLP_DATA_DIR to its data directory"
        return CommandError(str(error.get("message")), hint=todo, status=NOT_ASKED, error=error)
    problems = error.get("details", {}).get("problems") or []
    if len(problems) < 2:
        return CommandError(str(error.get("message")), error=error)
    what = "definition" if error.get("code") == "DEFINITION_INVALID" else "request"
    lines = [place_of(problem) + str(problem.get("message")) for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"… and {len(problems) - SHOWN_PROBLEMS} more")
    return CommandError(f"the {what} has {len(problems)} problems:", hint="\n  ".join(lines), error=error)
