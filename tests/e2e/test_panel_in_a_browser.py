"""The panel in a real browser: who gets in, what it shows, and what an application's own page cannot reach."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.applications import PARCEL, desk
from tests.e2e.server import CHECKOUT, Server, need

ARTIFACTS = CHECKOUT / "tests" / "artifacts"
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""
HOSTILE_APP = "hostile"
HOSTILE_PAGE = """<!doctype html>
<title>untouched</title>
<form method="post" action="/panel/logout"><button>Free parcels</button></form>
<iframe src="/panel"></iframe>
<script>
document.title = "ran " + document.cookie;
fetch("/panel").then(answer => answer.text()).then(text => { document.title = text });
</script>
"""
# Texts of the table cells that stick out of their row, and of the rows that stick out of their card.
CUT_OFF = """() => [["tbody td", "tr"], ["tbody tr", ".q-card"]].flatMap(([inner, outer]) =>
    [...document.querySelectorAll(inner)].filter(part => {
        const [own, around] = [part.getBoundingClientRect(), part.closest(outer).getBoundingClientRect()];
        return own.left < around.left - 1 || own.right > around.right + 1 || own.bottom > around.bottom + 1;
    }).map(part => part.innerText))"""


@dataclass
class Visit:
    """One browser profile with one page open, and what was seen while it was."""

    page: Page
    server: Server
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, context: BrowserContext, server: Server) -> "Visit":
        context.set_default_timeout(10_000)
        visit = cls(context.new_page(), server)
        context.on("request", lambda request: visit.requested.append(request.url))
        visit.page.on("websocket", lambda socket: visit.sockets.append(socket.url))
        visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type == "error" else None)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        return visit

    def open(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def log_in(self, token: str) -> None:
        self.open("/panel/login")
        self.page.get_by_label("Admin token").fill(token)
        self.page.get_by_role("button", name="Log in").click()

    def enter(self) -> None:
        """Log in as the administrator and wait until the panel shows its applications."""
        self.log_in(admin_token(self.server))
        expect(self.page.get_by_text("Support desk")).to_be_visible()

    def row(self, component_id: str) -> list[str]:
        """The cells of a component's row, from its name on."""
        named = self.page.get_by_role("cell", name=component_id, exact=True)
        return self.page.get_by_role("row").filter(has=named).get_by_role("cell").all_inner_texts()

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


def admin_token(server: Server) -> str:
    return (server.data_dir / "admin_token").read_text().strip()


def hostile() -> dict[str, Any]:
    """An application that answers GET /page with HTML that goes for the panel."""
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


@pytest.fixture(scope="module")
def panel_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    chromium()  # before a server is started for nothing
    with Server(tmp_path_factory.mktemp("panel") / "data") as server:
        server.administer("POST", "/apps", desk(displayName="Support desk"))
        server.administer("POST", "/apps", hostile())
        yield server


@pytest.fixture(scope="module")
def browser(panel_server: Server) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, panel_server: Server) -> Iterator[Visit]:
    with browser.new_context() as context:
        yield Visit.of(context, panel_server)


def test_a_wrong_token_is_told_and_stays_out(visit: Visit) -> None:
    visit.log_in("wrong")
    expect(visit.page.get_by_role("alert")).to_contain_text("token")
    assert visit.page.context.cookies() == []
    visit.open("/panel")
    assert visit.page.url.endswith("/panel/login")


def test_the_right_token_shows_components_and_walls_and_asks_nobody_else(visit: Visit) -> None:
    visit.enter()
    assert visit.row("classify")[:4] == ["classify", "POST /classify", "LLM", "prompt@stable"]
    assert visit.row("sort")[:4] == ["sort", "POST /sort", "JIT", "jit@v1"]
    told = visit.server.administer("GET", "/sandboxes")
    expect(visit.page.get_by_text(f"{told['driver']} driver · isolation: {told['isolation']}")).to_be_visible()
    assert (visit.strangers, visit.complaints) == ([], [])


def test_the_session_is_a_cookie_that_no_script_and_no_other_site_can_use(visit: Visit) -> None:
    visit.enter()
    (cookie,) = visit.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/panel")
    assert visit.page.evaluate("document.cookie") == ""


def test_the_page_follows_the_traffic_without_being_reloaded(visit: Visit) -> None:
    visit.enter()
    requests_before = int(visit.row("sort")[4])
    documents_before = visit.requested.count(visit.page.url)
    assert visit.server.http.post("/apps/desk/sort", json=PARCEL).headers["X-UHLP-Handler"] == "jit"
    count = visit.page.get_by_role("row").filter(has_text="POST /sort").get_by_role("cell").nth(4)
    expect(count).to_have_text(str(requests_before + 1), timeout=10_000)
    assert visit.requested.count(visit.page.url) == documents_before
    assert len(visit.sockets) == 1
    assert visit.sockets[0].startswith(f"ws://127.0.0.1:{visit.server.port}/panel/")


def test_logging_out_closes_the_panel(visit: Visit) -> None:
    visit.enter()
    visit.page.get_by_role("button", name="Log out").click()
    visit.page.wait_for_url("**/panel/login")
    assert visit.page.context.cookies() == []
    visit.open("/panel")
    assert visit.page.url.endswith("/panel/login")


def test_the_page_of_an_application_cannot_reach_the_panel(visit: Visit) -> None:
    visit.enter()
    visit.open(f"/apps/{HOSTILE_APP}/page")
    page = visit.page
    assert page.title() == "untouched"
    # What it could do if a browser did run its script: it has no origin, no cookie and no panel.
    assert page.evaluate("self.origin") == "null"
    assert "SecurityError" in page.evaluate("(() => { try { return document.cookie } catch (e) { return e.name } })()")
    assert page.evaluate("fetch('/panel').then(answer => answer.text(), error => error.name)") == "TypeError"
    page.get_by_role("button", name="Free parcels").click()
    assert "UHLP" not in "".join(frame.content() for frame in page.frames)
    visit.open("/panel")
    expect(page.get_by_text("Support desk")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_the_width_and_cut_nothing_off(
    browser: Browser, panel_server: Server, width: int, scheme: Any
) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        visit = Visit.of(context, panel_server)
        visit.open("/panel/login")
        _look(visit.page, ARTIFACTS / f"login-{width}-{scheme}.png", width)
        visit.enter()
        _look(visit.page, ARTIFACTS / f"panel-{width}-{scheme}.png", width)


def _look(page: Page, screenshot: Path, width: int) -> None:
    page.screenshot(path=screenshot, full_page=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []
