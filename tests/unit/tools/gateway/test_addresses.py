"""Which addresses a definition reaches, and whom a certificate is for."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.unit.tools.gateway.gateway_parts import Applications, context, gateway_of, named
from tests.unit.tools.gateway.odd_server import OddServer
from uhlp.clock import FakeClock
from uhlp.errors import (
    McpServerUnavailable,
    ToolNotFound,
)


@pytest.mark.parametrize(
    ("url", "settings", "reason"),
    [
        ("http://127.0.0.1:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://localhost:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://127.1:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://2130706433:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://0x7f000001:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://10.1.2.3/mcp", {"allow_hosts": ["127.0.0.1"]}, "no public address"),
        ("http://[::1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[::ffff:127.0.0.1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[64:ff9b::7f00:1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[64:ff9b:1::7f00:1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[fec0::1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[::7f00:1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://169.254.169.254/latest", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://[fd00:ec2::254]/latest", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://0.0.0.0:1/mcp", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://127.0.0.1:1/mcp", {"allow_hosts": ["127.0.0.1:2"]}, "no public address"),
        ("http://127.0.0.1:1/mcp", {"deny_hosts": ["127.0.0.0/8"]}, "mcp.deny_hosts"),
        ("http://LOCALHOST:1/mcp", {"allow_hosts": ["*"], "deny_hosts": ["localhost"]}, "mcp.deny_hosts"),
        ("http://192.0.2.1/mcp", {"public_hosts": False}, "mcp.allow_hosts"),
        ("http://nowhere.invalid/mcp", {}, "has no address"),
    ],
)
async def test_a_definition_reaches_no_address_that_the_operator_did_not_allow(url: str, settings: dict, reason: str):
    async with gateway_of(Applications(odd={"url": url}), **settings) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason):
            await gateway.call_tool("app.odd.echo", {}, context())


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1:{port}", "127.*"])
async def test_an_allowed_host_is_reached(odd: OddServer, entry: str):
    async with gateway_of(named(odd), allow_hosts=[entry.format(port=odd.port)]) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())


async def test_a_server_of_the_settings_is_reached_by_its_reference_wherever_it_is(odd: OddServer):
    shared = {"odd-one": {"url": odd.url, "headers": {"X-Key": "secret:MODEL_KEY"}}}
    applications = Applications(odd={"ref": "odd-one"}, gone={"ref": "gone"})
    async with gateway_of(applications, servers=shared, allow_hosts=[]) as gateway:
        allowed = context("community.odd.*", "community.gone.*")
        await gateway.call_tool("community.odd.echo", {}, allowed)
        assert odd.requests[-1][1]["X-Key"] == "never"
        with pytest.raises(ToolNotFound):
            await gateway.call_tool("community.gone.echo", {}, allowed)
        assert [(one["name"], one["state"]) for one in gateway.describe("shop")] == [
            ("gone", "unreachable"),
            ("odd", "connected"),
        ]


async def test_a_certificate_is_held_against_the_name_and_not_the_address(
    odd: OddServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate, private = self_signed("localhost", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    odd.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    odd.tls.load_cert_chain(certificate, private)
    await odd.stop()
    await odd.start()
    servers = {
        "odd": {"url": f"https://localhost:{odd.port}/mcp"},
        "other": {"url": f"https://127.0.0.1:{odd.port}/mcp"},
    }
    async with gateway_of(Applications(**servers)) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        with pytest.raises(McpServerUnavailable, match="the connection failed"):
            await gateway.call_tool("app.other.echo", {}, context("app.other.*"))


def self_signed(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate for `name`, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


async def test_a_name_that_changes_its_meaning_leads_nowhere_else(odd: OddServer):
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    clock = FakeClock()
    url = odd.url.replace("127.0.0.1", "crm.example")
    applications = Applications(odd={"url": url})
    async with gateway_of(applications, clock=clock, allow_hosts=["crm.example"], resolve=resolve) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
        dialled = len(odd.requests)
        assert dialled, "the address that was checked is dialled; nobody else knows the name"
        clock.advance(60)
        with pytest.raises(McpServerUnavailable, match="nobody may name"):
            await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
    assert len(odd.requests) == dialled


async def test_of_several_addresses_those_that_are_refused_are_not_dialled(odd: OddServer):
    async def resolve(host: str, port: int) -> list[str]:
        return ["169.254.169.254", "127.0.0.1"]

    url = odd.url.replace("127.0.0.1", "crm.example")
    async with gateway_of(Applications(odd={"url": url}), allow_hosts=["crm.example"], resolve=resolve) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
    assert odd.requests
