"""The documentation's lane: pages for anyone, without scripts, behind the walls that pages need."""

from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest

from uhlp.docs.generate import FOLDER
from uhlp.web.documentation.lane import DocumentationLane


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(DocumentationLane())
    async with httpx.AsyncClient(transport=transport, base_url="http://uhlp.test") as client:
        yield client


class _Tags(HTMLParser):
    """Which elements and addresses a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses |= {str(value) for name, value in attributes if name in ("href", "src")}
        assert not [name for name, _ in attributes if name.startswith("on") or name == "style"], attributes


async def test_every_page_is_shown_and_every_address_in_it_answers(http: httpx.AsyncClient) -> None:
    seen: set[str] = set()
    waiting = ["/docs/uhlp"]
    while waiting:
        address = waiting.pop()
        seen.add(address)
        answer = await http.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        found = {one.partition("#")[0] for one in _Tags(answer.text).addresses}
        waiting += {one for one in found if one.startswith("/") and one not in seen}
    files = {f"/docs/uhlp/{path.stem}" for path in FOLDER.glob("*.md")} - {"/docs/uhlp/index"}
    assert seen == {"/docs/uhlp"} | files


async def test_pages_run_no_scripts_and_ask_nobody_else(http: httpx.AsyncClient) -> None:
    answer = await http.get("/docs/uhlp/settings")
    tags = _Tags(answer.text)
    assert not tags.names & {"script", "link", "img", "iframe", "object", "form"}
    assert "table" in tags.names
    assert all(one.startswith(("/docs/uhlp", "#")) for one in tags.addresses)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


async def test_a_page_begins_with_its_title_and_its_headings_can_be_linked_to(http: httpx.AsyncClient) -> None:
    page = (await http.get("/docs/uhlp/commands")).text
    assert "<title>Commands · UHLP</title>" in page
    assert '<h2 id="uhlp-ledger-verify">uhlp ledger verify</h2>' in page
    assert '<a href="/docs/uhlp/commands" aria-current=page>Commands</a>' in page


@pytest.mark.parametrize(
    "path", ["/docs/uhlp/nothing", "/docs/uhlp/generate.py", "/docs/uhlp/../settings", "/docs/uhlp/%2e%2e"]
)
async def test_what_is_no_page_is_not_found(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"
    assert "content-security-policy" in answer.headers


async def test_head_has_no_body_and_other_methods_are_refused(http: httpx.AsyncClient) -> None:
    head = await http.head("/docs/uhlp")
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 1_000
    assert head.content == b""
    refused = await http.post("/docs/uhlp", content=b"x")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD"
