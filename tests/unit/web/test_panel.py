"""The panel: who gets in, and what it shows."""

import asyncio

import httpx
import pytest

from uhlp.access.administrator import Administrator, Role
from uhlp.clock import FakeClock
from uhlp.web.edge import open_edge
from uhlp.web.panel.session import PanelSession
from web.fakes import ADMIN_TOKEN, listening, services

ANN = Administrator("1" * 16, "ann", Role.OPERATOR)
BOB = Administrator("2" * 16, "bob", Role.VIEWER)


def session(**given) -> PanelSession:
    fixed = {"is_open_to": lambda one: True, "clock": FakeClock(), "lasts_s": 60, "secure": False}
    return PanelSession(**{**fixed, **given})


def cookie_of(set_cookie: str) -> bytes:
    return set_cookie.partition(";")[0].encode()


def test_a_session_is_valid_until_it_expires() -> None:
    clock = FakeClock()
    one = session(clock=clock)
    cookie = cookie_of(one.issue(ANN))
    assert one.administrator(b"other=1; " + cookie) == ANN
    clock.advance(59)
    assert one.administrator(cookie) == ANN
    clock.advance(1)
    assert one.administrator(cookie) is None


def test_a_session_that_was_ended_is_not_valid_wherever_its_cookie_is_kept() -> None:
    one = session()
    mine, other = cookie_of(one.issue(ANN)), cookie_of(one.issue(BOB))
    one.end(b"x=y; " + mine)
    one.end(None)
    one.end(b"uhlp_panel=forged")
    assert (one.administrator(mine), one.administrator(other)) == (None, BOB)
    assert session().administrator(other) is None


def test_a_session_ends_with_the_token_that_opened_it() -> None:
    known = {ANN, BOB}
    one = session(is_open_to=known.__contains__)
    of_ann, of_bob = cookie_of(one.issue(ANN)), cookie_of(one.issue(BOB))
    known.remove(ANN)
    assert (one.administrator(of_ann), one.administrator(of_bob)) == (None, BOB)


def test_a_session_cannot_be_forged_or_prolonged() -> None:
    one = session()
    cookie = cookie_of(one.issue(ANN))
    name, _, value = cookie.partition(b"=")
    expires, nonce, signature = value.split(b".")
    forged = [
        b"",
        b"x",
        b".",
        b"..",
        b"9999999999." + nonce + b"." + signature,
        value[:-1],
        b"9999999999.." + signature,
    ]
    assert not any(one.administrator(name + b"=" + bad) for bad in forged)
    assert one.administrator(None) is None
    assert one.administrator(b"\xff=\xff;;;=") is None
    assert expires


@pytest.mark.parametrize(
    "forged", [b"uhlp_panel=x", b"uhlp_panel=9999999999.aa.bb", b"uhlp_panel=", b'uhlp_panel="\\"']
)
def test_cookies_that_another_host_of_the_domain_has_set_do_not_end_a_session(forged: bytes) -> None:
    one = session()
    mine, ended = cookie_of(one.issue(ANN)), cookie_of(one.issue(BOB))
    one.end(ended)
    for cookies in ((forged, mine), (mine, forged), (ended, mine), (forged, ended, mine, forged)):
        assert one.administrator(b"; ".join(cookies)) == ANN
    assert one.administrator(forged) is None
    assert one.administrator(b"not_" + mine) is None


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    attributes = session().issue(ANN).split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict", "Path=/panel"} <= set(attributes)
    assert "Secure" not in attributes
    assert "Secure" in session(secure=True).issue(ANN)


async def test_only_the_admin_token_opens_the_panel(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    response = await client.get("/panel")
    assert (response.status_code, response.headers["location"]) == (303, "/panel/login")
    page = await client.get("/panel/login")
    assert "Admin token" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    refused = await client.post("/panel/login", data={"token": "<wrong>"})
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    assert (await client.post("/panel/anything")).status_code == 401
    entered = await client.post("/panel/login", data={"token": ADMIN_TOKEN})
    assert (entered.status_code, entered.headers["location"]) == (303, "/panel")
    assert (await client.get("/panel/logout")).status_code == 405
    left = await client.post("/panel/logout")
    assert "Max-Age=0" in left.headers["set-cookie"]
    kept = entered.headers["set-cookie"].partition(";")[0]
    back = await client.get("/panel", headers={"Cookie": kept})
    assert (back.status_code, back.headers["location"]) == (303, "/panel/login")


async def test_a_form_on_another_site_cannot_log_in(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    for origin in ("https://evil.test", "null", "http://uhlp.test:81"):
        response = await client.post("/panel/login", data={"token": ADMIN_TOKEN}, headers={"Origin": origin})
        assert response.status_code == 403
    response = await client.post("/panel/login", data={"token": ADMIN_TOKEN}, headers={"Origin": "http://uhlp.test"})
    assert response.status_code == 303


async def test_guessing_at_the_log_in_is_slowed_down(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    answers = [(await client.post("/panel/login", data={"token": "guess"})).status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]


async def test_the_page_is_served_offline_to_the_tokens_holder_and_its_websocket_asks_where_it_comes_from(
    stored,
) -> None:
    raw, view = await stored.tokens.create("ann", Role.VIEWER, actor="admin", reason="a test")
    async with open_edge(stored) as edge, listening(edge) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await client.post("/panel/login", data={"token": raw})
            cookie = f"uhlp_panel={client.cookies['uhlp_panel']}"
            page = await client.get("/panel")
            assert page.status_code == 200
            assert "ann · viewer" in page.text
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert 'src="http' not in page.text
        handshakes = {
            (f"http://127.0.0.1:{port}", cookie): 101,
            ("https://evil.test", cookie): 403,
            (None, cookie): 403,
            (f"http://127.0.0.1:{port}", "uhlp_panel=forged"): 403,
        }
        for (origin, sent), status in handshakes.items():
            _, writer, answered = await handshake(port, origin, sent)
            writer.close()
            assert answered == status, (origin, status)
        reader, writer, _ = await handshake(port, f"http://127.0.0.1:{port}", cookie)
        await stored.tokens.delete(view.holder.token_id, actor="admin", reason="she left")
        writer.write(b"\x81\x81\x00\x00\x00\x003")  # a message, of one masked byte
        await asyncio.wait_for(reader.readuntil(b"\x88\x02\x03\xf0"), 30)  # the server closes it: policy violation
        writer.close()
        assert (await handshake(port, f"http://127.0.0.1:{port}", cookie))[2] == 403


async def test_a_deleted_token_ends_its_panel_session(client_of, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    raw, view = await stored.tokens.create("ann", Role.OWNER, actor="admin", reason="a test")
    assert (await client.post("/panel/login", data={"token": raw})).headers["location"] == "/panel"
    await stored.tokens.delete(view.holder.token_id, actor="admin", reason="she left")
    assert (await client.get("/panel")).headers["location"] == "/panel/login"
    assert (await client.post("/panel/login", data={"token": raw})).status_code == 401


async def handshake(
    port: int, origin: str | None, cookie: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A websocket's opening request to the panel: the connection, and the status it was answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [
        "GET /panel/_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Cookie: {cookie}",
        *([f"Origin: {origin}"] if origin else []),
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    return reader, writer, int((await asyncio.wait_for(reader.readline(), 30)).split()[1])
