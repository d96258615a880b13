"""One browser profile with one page of the panel open, and what was seen while it was."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.e2e.server import CHECKOUT, Server, need

SCREENSHOTS = Path(os.environ["UHLP_TEST_SCREENSHOTS"]) if "UHLP_TEST_SCREENSHOTS" in os.environ else None
"""Where pictures of every page are left for people; none are taken unasked: no test looks at them."""
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""
HOSTILE_APP = "hostile"
ORDERS_APP = "orders"
expect.set_options(timeout=15_000)  # the machine may be busy with other tests
HOSTILE_PAGE = """<!doctype html>
<title>untouched</title>
<form method="post" action="/panel/logout"><button>Free parcels</button></form>
<iframe src="/panel"></iframe>
<script>
document.title = "ran " + document.cookie;
fetch("/panel").then(answer => answer.text()).then(text => { document.title = text });
</script>
"""


@dataclass
class Visit:
    page: Page
    server: Server
    requested: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, context: BrowserContext, server: Server) -> "Visit":
        context.set_default_timeout(15_000)
        visit = cls(context.new_page(), server)
        context.on("request", visit._requested)
        visit.page.on("websocket", lambda socket: visit.sockets.append(socket.url))
        visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type == "error" else None)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        return visit

    def _requested(self, request: Any) -> None:
        self.requested.append(request.url)
        if request.is_navigation_request():
            self.documents.append(request.url)

    def open(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def log_in(self, token: str) -> None:
        self.open("/panel/login")
        self.page.get_by_label("Admin token").fill(token)
        self.page.get_by_role("button", name="Log in").click()

    def enter(self, token: str = "") -> None:
        """Log in, as the owner or with another token, and wait until the overview is there."""
        self.log_in(token or (self.server.data_dir / "admin_token").read_text().strip())
        expect(self.page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()

    def section(self, name: str) -> Locator:
        return self.page.locator("section").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    def figure(self, name: str) -> Locator:
        """The large figure of this name."""
        named = self.page.locator(".tile").filter(has=self.page.get_by_text(name, exact=True))
        return named.locator(".figure").first

    def press(self, button: str, *, reason: str, within: Locator | None = None) -> None:
        """Press a button that asks for a reason, and give it."""
        (within or self.page).get_by_role("button", name=button, exact=True).first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill(reason)
        dialog.get_by_role("button", name="Confirm").click()
        expect(dialog).to_be_hidden()

    def told(self, words: str) -> None:
        """Wait for the sentence that says what an action did."""
        expect(self.page.get_by_role("alert").filter(has_text=words).first).to_be_visible()

    @property
    def strangers(self) -> list[str]:
        """Addresses asked for that are not the server's."""
        ours = (self.server.url + "/", self.server.url.replace("http:", "ws:") + "/", "data:", "blob:")
        return [url for url in (*self.requested, *self.sockets) if not url.startswith(ours)]


def chromium() -> str:
    """The browser's path; a snap counts as missing, because confined it cannot use Playwright's profile folders."""
    need("chromium")
    path = shutil.which("chromium") or ""
    if path.startswith("/snap/"):
        pytest.skip("chromium is a snap here")
    return path


@contextmanager
def started_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        yield browser
        browser.close()


def hostile() -> dict[str, Any]:
    """An application that answers GET /page with HTML that goes for the panel and the administration."""
    script = "_jit_code/page/v1/handler.py"
    answer = {"statusCode": 200, "headers": {"content-type": "text/html"}, "body": HOSTILE_PAGE}
    component = {
        "componentId": "page",
        "handlerType": "JIT",
        "expectedResultFormat": "httpResponse",
        "routeMatcher": {"pathPattern": "/page", "methods": ["GET"]},
        "taskDetails": {"script": script, "function": "handle"},
    }
    return {
        "definition": {"appId": HOSTILE_APP, "displayName": "Free parcels", "public": True},
        "files": {
            "component_registry.yaml": json.dumps({"components": [component]}),
            script: f"def handle(inputs, context):\n    return {answer!r}\n",
        },
    }


def orders() -> dict[str, Any]:
    """An application with a workflow of a prompt and an answer."""
    folder = CHECKOUT / "uhlp" / "demo" / "order_workflow"
    note = {"componentId": "read-note", "taskDetails": {"prompt_template": "read-note"}}
    order = {
        "componentId": "place-order",
        "handlerType": "WORKFLOW",
        "taskDetails": {"workflowId": "place-order"},
        "routeMatcher": {"pathPattern": "/orders", "methods": ["POST"]},
    }
    answer = {
        "id": "answer", "type": "control", "control": "formatResponse",
        "body": {"handling": "steps.note.output.handling"}, "end": True,
    }  # fmt: skip
    ask = {
        "id": "note", "type": "llm", "componentId": "read-note",
        "inputMapping": {"note": "trigger.input.note"}, "onSuccess": "answer",
    }  # fmt: skip
    return {
        "definition": {"appId": ORDERS_APP, "public": True},
        "files": {
            "component_registry.yaml": json.dumps({"components": [order, note]}),
            "prompts/read-note.yaml": (folder / "prompts" / "read-note.yaml").read_text(encoding="utf-8"),
            "workflows/place-order.yaml": json.dumps({"workflowId": "place-order", "steps": [ask, answer]}),
        },
    }
