"""Users of an application: known by a trusted proxy or a token, allowed what their roles grant."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from uhlp.errors import Unauthorized, ValidationFailed
from uhlp.models.definition import SecurityConfig
from uhlp.registry.snapshot import AppSnapshot
from uhlp.web.config import UserSettings
from uhlp.web.users import Users
from web.fakes import Echo, KeyIdentity, SnapshotsOnly, application, component, services

SECRET = "0123456789abcdef0123456789abcdef"
SHARED = UserSettings(
    source="jwt", jwt_key="secret:JWT", jwt_algorithms=("HS256",), jwt_issuer="idp", jwt_audience="me"
)
PROXY = UserSettings(source="header", trusted_proxies=("127.0.0.0/8",))
ROLES = {
    "userRoles": {"clerk": {"roleName": "clerk", "permissions": ["invoke:echo"]}},
    "userAssignments": {"ann": ["clerk"], "eve": ["gone"]},
}


def users(settings: UserSettings = SHARED, secrets: Mapping[str, str] = {"JWT": SECRET}) -> Users:
    return Users(settings=settings, read_secret=secrets.get)


def token(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> bytes:
    given = {"sub": "ann", "iss": "idp", "aud": "me", "exp": datetime.now(UTC) + timedelta(hours=1), **claims}
    return jwt.encode({name: value for name, value in given.items() if value is not None}, key, algorithm).encode()


def bearer(raw: bytes) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + raw}


def test_a_valid_token_names_its_user_and_a_key_or_nothing_names_nobody():
    assert users().user_of(bearer(token()), client="9.9.9.9") == "ann"
    assert users().user_of({}, client="9.9.9.9") is None
    assert users().user_of(bearer(b"uhlp_0123456789_0123456789abcdef"), client="9.9.9.9") is None
    assert users(UserSettings()).user_of(bearer(token()), client="127.0.0.1") is None


def test_a_token_of_a_public_key_is_checked_with_it():
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    reader = users(UserSettings(source="jwt", jwt_key="secret:PEM", jwt_claim="email"), {"PEM": pem})
    signed = token(private, "EdDSA", aud=None, email="ann@example.org")
    assert reader.user_of(bearer(signed), client="") == "ann@example.org"
    forged = token(Ed25519PrivateKey.generate(), "EdDSA", aud=None, email="ann@example.org")
    with pytest.raises(Unauthorized):
        reader.user_of(bearer(forged), client="")


@pytest.mark.parametrize(
    "raw",
    [
        token("f" * 32),
        token(exp=datetime.now(UTC) - timedelta(hours=1)),
        token(exp=None),
        token(iss="other"),
        token(aud="other"),
        token(aud=None),
        token(sub=None),
        token(sub=""),
        token(sub="a\nb"),
        token(sub="x" * 257),
        token(None, "none"),
        token("0" * 64, "HS512"),
        b"a.b.c",
        b"\xff\xfe",
        b"x" * 10_000,
    ],
    ids=["key", "old", "no end", "issuer", "audience", "no audience", "nobody", "empty", "control", "long", "unsigned",
         "algorithm", "no token", "bytes", "large"],
)  # fmt: skip
def test_a_token_that_is_not_valid_is_refused(raw):
    with pytest.raises(Unauthorized):
        users().user_of(bearer(raw), client="")


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        (SHARED.model_copy(update={"jwt_key": "written here"}), {}),
        (SHARED, {}),
        (UserSettings(source="jwt", jwt_key="secret:JWT"), {"JWT": "no PEM"}),
    ],
    ids=["a value", "no such secret", "no key of the algorithms"],
)
def test_a_key_that_cannot_be_used_is_found_at_the_start(settings, secrets):
    with pytest.raises(ValidationFailed, match=r"users\.jwt_key"):
        users(settings, secrets)
    with pytest.raises(ValidationError):
        UserSettings(trusted_proxies=("nowhere",))


def test_a_header_is_believed_of_a_trusted_proxy_only():
    reader = users(PROXY)
    assert reader.user_of({b"x-user-id": b"ann"}, client="127.0.0.1") == "ann"
    for stranger in ("10.0.0.1", "", "testclient", "::1"):
        assert reader.user_of({b"x-user-id": b"ann"}, client=stranger) is None
    with pytest.raises(Unauthorized):
        reader.user_of({b"x-user-id": b" "}, client="127.0.0.1")


def secured(*, public: bool, roles: dict[str, Any] = ROLES) -> AppSnapshot:
    app = application("shop", component("echo", "/echo", "POST"), component("other", "/other", "POST"), public=public)
    definition = app.definition.model_copy(update={"security_config": SecurityConfig.model_validate(roles)})
    return AppSnapshot(app.app_id, app.revision, definition, app.components, app.routes, {})


@pytest.mark.parametrize(
    ("public", "roles", "user", "key", "statuses"),
    [
        (True, ROLES, None, None, (200, 200)),
        (True, ROLES, "ann", None, (200, 403)),
        (True, ROLES, "eve", None, (403, 403)),
        (True, {}, "eve", None, (200, 200)),
        (False, ROLES, None, None, (401, 401)),
        (False, ROLES, "ann", None, (200, 403)),
        (False, ROLES, "eve", None, (403, 403)),
        (False, {}, "ann", None, (401, 401)),
        (False, ROLES, None, "all", (200, 200)),
        (False, ROLES, "ann", "all", (200, 403)),
        (False, ROLES, "ann", "only-other", (403, 403)),
        (False, ROLES, "ann", "wrong", (401, 401)),
        (False, {}, "ann", "all", (200, 200)),
    ],
)
async def test_routes_ask_for_a_key_or_a_role_and_for_a_role_of_every_known_user(
    caller_of, public, roles, user, key, statuses
):
    registry = SnapshotsOnly({"shop": secured(public=public, roles=roles)})
    registry.keys = {"all": KeyIdentity("shop"), "only-other": KeyIdentity("shop", permissions=("invoke:other",))}
    client = await caller_of(services(registry=registry, users=users(PROXY)))
    headers = ({"X-User-Id": user} if user else {}) | ({"X-API-Key": key} if key else {})
    answers = [(await client.post(f"/apps/shop/{path}", json={}, headers=headers)).status_code
               for path in ("echo", "other")]  # fmt: skip
    assert tuple(answers) == statuses


async def test_a_token_and_a_key_may_come_together_and_the_sandbox_sees_the_user_only(caller_of):
    router, registry = Echo(), SnapshotsOnly({"shop": secured(public=False)})
    registry.keys = {"uhlp_key": KeyIdentity("shop")}
    client = await caller_of(services(registry=registry, router=router, users=users()))
    headers = {"X-API-Key": "uhlp_key", "Authorization": f"Bearer {token().decode()}"}
    assert (await client.post("/apps/shop/echo", json={}, headers=headers)).status_code == 200
    request = router.requests[0]
    assert request.user_info == {"userId": "ann", "roles": ["clerk"], "permissions": ["invoke:echo"]}
    assert "authorization" not in request.source_details["headers"]
    bad = {"X-API-Key": "uhlp_key", "Authorization": "Bearer a.b.c"}
    assert (await client.post("/apps/shop/echo", json={}, headers=bad)).status_code == 401
    only_key = {"Authorization": "Bearer uhlp_key"}
    assert (await client.post("/apps/shop/echo", json={}, headers=only_key)).status_code == 200
    assert router.requests[1].user_info is None
