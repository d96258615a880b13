"""The panel in a real browser: who gets in, what it shows, what people do with it, and what cannot reach it.

One server, one browser and one story for all: a component is compiled while it is watched, and taken out again.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.panel_visit import (
    HOSTILE_APP,
    ORDERS_APP,
    SCREENSHOTS,
    Visit,
    chromium,
    hostile,
    orders,
    started_browser,
)
from tests.e2e.support_desk import APP, SupportDesk, support_desk

TRIAGE = f"/panel/apps/{APP}/components/ticket-triage"
# Texts that stick out of the card, cell or tile around them.
CUT_OFF = """() => [["td", "section"], ["dd", ".tile, section"], ["p, h1, h2, h3, li", "section, main"]].flatMap(
    ([inner, outer]) => [...document.querySelectorAll(inner)].filter(part => {
        const around = part.closest(outer);
        if (!around || part.closest("dialog, .skip, thead") || !part.getClientRects().length) return false;
        const [own, frame] = [part.getBoundingClientRect(), around.getBoundingClientRect()];
        return own.left < frame.left - 1 || own.right > frame.right + 1;
    }).map(part => part.innerText))"""


AXE: dict[tuple[int, str], dict[str, Any]] = {
    (1280, "light"): {},
    (390, "dark"): {"runOnly": ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]},
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupportDesk]:
    """The support desk with enough traffic to compile one component, and a recommendation for another."""

    def change(components: dict[str, dict[str, Any]]) -> None:
        triage = components["ticket-triage"]["optimization"]
        triage["rules"] = []
        triage["maxWrongAnswers"] = 10  # in service, 8 of 10 answers are audited
        lines = components["order-lines"]["optimization"]
        lines["mode"] = "recommend"
        lines["rules"][0]["condition"]["expression"] = "count(requests) >= 40"

    chromium()  # before a server is started for nothing
    with support_desk(tmp_path_factory.mktemp("panel")) as desk:
        desk.register(change)
        desk.server.administer("POST", "/apps", hostile())
        desk.server.administer("POST", "/apps", orders())
        desk.server.http.post(f"/apps/{ORDERS_APP}/orders", json={"note": "The lamp is a gift."})
        desk.call("ticket-triage", 400)
        desk.call("order-lines", 90)
        desk.call("case-summary", 6)
        yield desk


@pytest.fixture(scope="module")
def browser(desk: SupportDesk) -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, desk: SupportDesk) -> Iterator[Visit]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Visit.of(context, desk.server)


@contextmanager
def traffic(desk: SupportDesk, component_id: str) -> Iterator[None]:
    """Requests for one component until the block ends."""
    ending = threading.Event()

    def call() -> None:
        while not ending.is_set():
            desk.call(component_id, 24, side_by_side=4)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        ending.set()
        caller.join(30)


def token_of(desk: SupportDesk, name: str, role: str) -> str:
    return str(desk.server.administer("POST", "/tokens", {"name": name, "role": role})["token"])


def test_a_wrong_token_is_told_and_stays_out(visit: Visit) -> None:
    visit.log_in("wrong")
    expect(visit.page.get_by_role("alert")).to_contain_text("token")
    assert visit.page.context.cookies() == []
    visit.open("/panel/ledger")
    assert visit.page.url.endswith("/panel/login")


def test_the_right_token_shows_applications_and_walls_and_asks_nobody_else(visit: Visit) -> None:
    visit.enter()
    expect(visit.page.get_by_role("link", name="Support desk (simulated)")).to_be_visible()
    told = visit.server.administer("GET", "/sandboxes")
    expect(visit.section("Server")).to_contain_text(f"{told['driver']} driver isolation: {told['isolation']}")
    (cookie,) = visit.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/panel")
    assert visit.page.evaluate("document.cookie") == ""
    assert (visit.strangers, visit.complaints) == ([], [])
    assert visit.sockets[0].startswith(visit.server.url.replace("http:", "ws:") + "/panel/")


def test_the_page_follows_the_traffic_without_being_reloaded(visit: Visit, desk: SupportDesk) -> None:
    visit.enter()
    visit.open(f"/panel/apps/{APP}/components/case-summary")
    count = int(visit.figure("Requests").inner_text().replace(",", ""))
    documents = len(visit.documents)
    desk.call("case-summary", 3)
    expect(visit.figure("Requests")).to_have_text(str(count + 3))
    assert len(visit.documents) == documents


def test_keyboard_and_readers_find_their_way_and_keep_their_place(visit: Visit) -> None:
    visit.enter()
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("button", name="Pause evolution").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Pause evolution").get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    link = page.get_by_role("link", name="Support desk (simulated)")
    link.focus()
    page.evaluate("() => { for (const one of document.querySelectorAll('section')) one.innerHTML = one.innerHTML }")
    expect(link).to_be_focused()
    moment = page.locator("time").first
    assert moment.get_attribute("title").endswith("UTC")  # type: ignore[union-attr]
    assert "UTC" not in moment.inner_text()


def test_viewers_look_and_are_offered_nothing_else(visit: Visit, desk: SupportDesk) -> None:
    visit.enter(token_of(desk, "vera", "viewer"))
    expect(visit.page.get_by_text("vera · viewer")).to_be_visible()
    visit.open(TRIAGE)
    expect(visit.section("Versions")).to_be_visible()
    expect(visit.page.locator("[data-action]")).to_have_count(0)
    visit.page.evaluate("emitEvent('panel_action', {action: 'optimize', fields: {kind: 'jit', reason: 'mine'}})")
    visit.told("This needs the role operator")
    assert desk.candidate("ticket-triage") is None


def test_a_component_is_compiled_while_it_is_watched_judged_and_taken_out(visit: Visit, desk: SupportDesk) -> None:
    page = visit.page
    visit.enter(token_of(desk, "olga", "operator"))
    visit.open(TRIAGE)
    visit.press("Optimise", reason="it is busy")
    visit.told("is on its way")
    page.get_by_role("link", name="c-", exact=False).first.click()
    expect(page.get_by_role("heading", name="Candidate c-")).to_be_visible()
    documents = len(visit.documents)
    with traffic(desk, "ticket-triage"):
        stage = page.locator(".stages li.here")
        expect(stage).to_have_text(re.compile("promoted|rejected|rolled back"), timeout=60_000)
        assert stage.inner_text() == "promoted", page.locator(".lead").inner_text()
        wrong = visit.section("What it got wrong")
        expect(wrong.get_by_role("button", name="The handler is right").first).to_be_visible(timeout=30_000)
    assert len(visit.documents) == documents
    expect(visit.section("Evidence").get_by_text("let in", exact=True)).to_be_visible()
    visit.press("The handler is right", reason="I wrote the ticket", within=wrong)
    visit.told("Noted: it is the reference")
    expect(wrong.get_by_text("the handler was right", exact=True).first).to_be_attached()
    assert desk.call("ticket-triage", 30)
    visit.press("Roll back", reason="a rehearsal")
    visit.told("The candidate is rolled back")
    expect(page.locator(".stages li.here")).to_have_text("rolled back")
    assert {answer.headers["X-UHLP-Handler"] for answer in desk.call("ticket-triage", 30)} == {"llm"}
    expect(visit.section("Timeline").get_by_text("by olga").first).to_be_visible()
    assert visit.complaints == []


def test_a_recommendation_is_approved(visit: Visit, desk: SupportDesk) -> None:
    visit.enter()
    visit.page.get_by_role("link", name="Waiting", exact=True).click()
    recommended = visit.section("Recommendations").locator("article").filter(has_text="order-lines")
    expect(recommended).to_contain_text("count(requests) >= 40")
    visit.press("Approve", reason="it pays", within=recommended)
    visit.told("approved")
    expect(recommended).to_have_count(0)
    approved = desk.candidate("order-lines")
    assert approved is not None
    assert approved["approvedBy"] == "admin"


def test_an_application_is_drafted_looked_at_and_registered(visit: Visit) -> None:
    visit.enter()
    page = visit.page
    page.get_by_role("link", name="Create an application").click()
    page.get_by_label("In your words").fill("Sort letters of customers into praise, complaint or other.")
    page.get_by_role("button", name="Draft it").click()
    visit.told("Look at every file")
    files = visit.section("Its files")
    expect(files.get_by_text("A model wrote it.")).to_be_visible()
    expect(files.get_by_text("It can be registered.")).to_be_visible()
    _look(page, "create")
    editor = page.get_by_label("app.yaml")
    good = editor.input_value()
    editor.fill(good + "colour: blue\n")
    page.get_by_role("button", name="Register", exact=True).click()
    visit.told("It has 1 problem:")
    expect(files.get_by_text("app.yaml, line")).to_be_visible()
    expect(editor).to_have_value(good + "colour: blue\n")
    assert "sort-letters-classify" not in visit.server.administer("GET", "/apps")["appIds"]
    editor.fill(good + "public: true\n")
    page.get_by_role("button", name="Register", exact=True).click()
    visit.told("sort-letters-classify is registered.")
    answer = visit.server.http.post("/apps/sort-letters-classify/classify", json={"text": "Thank you"})
    assert answer.json()["label"] in ("praise", "complaint", "other")
    assert visit.complaints == []


def test_a_prompt_is_shortened_overridden_and_put_back(visit: Visit, desk: SupportDesk) -> None:
    page = visit.page
    visit.enter()
    visit.open(f"/panel/apps/{APP}/components/case-summary")
    page.get_by_role("link", name="case-summary", exact=True).last.click()
    expect(visit.section("Override sets")).to_contain_text("No section is overridden")
    place = f"/apps/{APP}/prompts/case-summary/overrides"
    section = visit.server.administer("GET", place)["sections"][0]
    override = {"path": [section["key"]], "expectedHash": section["sha256"], "body": f"{section['body']}\nBe brief."}
    visit.server.administer("POST", place, {"overrides": [override], "reason": "shorter answers"})
    visit.open(page.url.removeprefix(visit.server.url))
    expect(visit.section("What overrides change")).to_contain_text("+Be brief.")
    visit.press("Back to the prompt's file", reason="a rehearsal")
    visit.told("is as it was at its file")
    expect(visit.section("What overrides change")).to_contain_text("source and stable say the same")
    visit.server.administer("POST", place, {"tag": "calm", "overrides": [override], "reason": "to be looked at"})
    visit.open(f"/panel/apps/{APP}/prompts/ticket-triage")
    page.get_by_role("button", name="Shorten with rules alone").click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    visit.told("is on its way")
    page.get_by_role("table", name="Attempts").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Shortening ticket-triage")).to_be_visible()
    assert visit.complaints == []


def test_a_component_is_evaluated_and_a_run_is_followed_step_by_step(visit: Visit, desk: SupportDesk) -> None:
    page = visit.page
    visit.enter(token_of(desk, "otto", "operator"))
    visit.open(TRIAGE)
    page.get_by_role("link", name="evaluations", exact=True).click()
    for what in ("the prompt", "what serves"):
        page.get_by_role("button", name=f"Evaluate {what}").click()
        page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        visit.told("is on its way")
    page.get_by_role("table", name="Evaluations").get_by_role("link").first.click()
    expect(visit.figure("State")).to_have_text("done", timeout=30_000)
    page.get_by_role("link", name="Workflows", exact=True).click()
    page.get_by_role("table", name="Runs").get_by_role("link").first.click()
    timeline = page.get_by_role("table", name="Timeline")
    expect(timeline).to_contain_text("note")
    expect(timeline).to_contain_text("prompt@stable")
    expect(visit.section("What went in and came out")).to_contain_text("lamp")
    assert visit.complaints == []


def test_evolution_is_paused_and_resumed_and_the_ledger_verified(visit: Visit) -> None:
    visit.enter()
    visit.press("Pause evolution", reason="a quiet weekend")
    expect(visit.section("Evolution").get_by_text("paused", exact=True)).to_be_visible()
    assert visit.server.administer("GET", "/evolution")["paused"]
    visit.press("Resume evolution", reason="monday")
    expect(visit.section("Evolution").get_by_text("running", exact=True)).to_be_visible()
    visit.page.get_by_role("link", name="Ledger", exact=True).click()
    visit.page.get_by_role("button", name="Verify the whole chain").click()
    visit.told("The ledger holds.")
    visit.page.get_by_label("Words, a candidate or a person").fill("a quiet weekend")
    visit.page.get_by_role("button", name="Show").click()
    expect(visit.section("Entries").get_by_role("listitem")).to_have_count(1)


def test_logging_out_closes_the_panel(visit: Visit) -> None:
    visit.enter()
    visit.page.get_by_role("button", name="Log out").click()
    visit.page.wait_for_url("**/panel/login")
    assert visit.page.context.cookies() == []
    visit.open("/panel")
    assert visit.page.url.endswith("/panel/login")


def test_a_token_that_is_deleted_ends_what_it_opened(visit: Visit, desk: SupportDesk) -> None:
    made = desk.server.administer("POST", "/tokens", {"name": "temporary", "role": "viewer"})
    visit.enter(str(made["token"]))
    desk.server.administer("DELETE", f"/tokens/{made['tokenId']}")
    visit.page.wait_for_url("**/panel/login")


def test_the_page_of_an_application_reaches_neither_panel_nor_administration(visit: Visit) -> None:
    visit.enter()
    visit.open(f"/apps/{HOSTILE_APP}/page")
    page = visit.page
    assert page.title() == "untouched"
    # What it could do if a browser did run its script: it has no origin, no cookie, no panel and no administration.
    assert page.evaluate("self.origin") == "null"
    assert "SecurityError" in page.evaluate("(() => { try { return document.cookie } catch (e) { return e.name } })()")
    for address in ("/panel", "/admin/v1/apps"):
        outcome = page.evaluate(f"fetch('{address}').then(answer => answer.text(), error => error.name)")
        assert outcome == "TypeError"
    page.get_by_role("button", name="Free parcels").click()
    assert "UHLP" not in "".join(frame.content() for frame in page.frames)
    visit.open("/panel")
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()


def test_every_page_is_accessible_fits_its_width_and_cuts_nothing_off(visit: Visit, desk: SupportDesk) -> None:
    visit.open("/panel/login")
    _look(visit.page, "login")
    visit.enter()
    candidate = desk.candidate("ticket-triage")
    run = desk.server.administer("GET", f"/apps/{ORDERS_APP}/executions")["executions"][0]
    compressions = desk.server.administer("GET", f"/optimize-requests?appId={APP}")["requests"]
    evaluations = desk.server.administer("GET", f"/apps/{APP}/evals")["evals"]
    compared = f"&from={evaluations[1]['id']}&to={evaluations[0]['id']}" if len(evaluations) > 1 else ""
    paths = {
        "overview": "/panel/",
        "application": f"/panel/apps/{APP}",
        "component": TRIAGE,
        "candidates": "/panel/candidates",
        **({"candidate": f"/panel/candidates/{candidate['candidateId']}"} if candidate else {}),
        "waiting": "/panel/waiting",
        "workflows": "/panel/workflows",
        "execution": f"/panel/workflows/{ORDERS_APP}/{run['executionId']}",
        "prompt": f"/panel/apps/{APP}/prompts/case-summary?to=calm",
        **({"compression": f"/panel/compressions/{compressions[0]['requestId']}"} if compressions else {}),
        "evaluations": f"/panel/apps/{APP}/evals?component=ticket-triage{compared}",
        **({"evaluation": f"/panel/apps/{APP}/evals/{evaluations[0]['id']}"} if evaluations else {}),
        "money": "/panel/money",
        "sandboxes": "/panel/sandboxes",
        "ledger": "/panel/ledger",
        "events": "/panel/events",
        "settings": "/panel/settings",
        "nothing": "/panel/apps/nobody",
    }
    for name, path in paths.items():
        visit.open(path)
        expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
        expect(visit.page.locator(".loading")).to_have_count(0)
        _look(visit.page, name)


def _look(page: Page, name: str) -> None:
    """Both widths, and both schemes: nothing but colours comes with a scheme. Axe looks at everything once, and at
    colours and places again where both are different. Where pictures are asked for they are of all four."""
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
        if SCREENSHOTS is None and (width, scheme) not in AXE:
            continue
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")  # what fades in is there
        if SCREENSHOTS is not None:
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, (name, width)
        assert page.evaluate(CUT_OFF) == [], (name, width)
        if (rules := AXE.get((width, scheme))) is not None:
            found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
            told = [(one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]]
            assert told == [], (name, width, scheme)
