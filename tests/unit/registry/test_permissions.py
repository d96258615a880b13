"""What permissions grant, and who may trigger whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.conftest import FILES
from uhlp.errors import PermissionDenied
from uhlp.registry.api_keys import ApiKeyIdentity
from uhlp.registry.permissions import grants, is_permission

NAMES = st.sampled_from(["a", "a.b", "b"])
PERMISSIONS = st.builds(lambda kind, name: f"{kind}:{name}", st.sampled_from(["invoke", "trigger", "tool"]), NAMES)
GRANTED = st.lists(PERMISSIONS | st.sampled_from(["*", "invoke:*", "trigger:*", "tool:*"]), max_size=4)


@given(GRANTED, PERMISSIONS)
def test_a_permission_is_granted_by_itself_its_kind_or_everything(granted, wanted):
    kind, _, _ = wanted.partition(":")
    assert grants(granted, wanted) is any(one in (wanted, f"{kind}:*", "*") for one in granted)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *((one, True) for one in ("*", "invoke:*", "invoke:a.b-c", "trigger:order_paid", "tool:core.llm", "admin:*")),
        *((one, False) for one in ("", "invoke", "invoke:", "inovke:a", "invoke:a b", "invoke:*a", "**", "invoke:a\n")),
    ],
)  # fmt: skip
def test_what_is_no_permission_is_told_apart(text, is_one):
    assert is_permission(text) is is_one


async def test_an_event_needs_the_key_s_permission_and_between_applications_the_target_s_too(registry):
    rules = b"securityConfig:\n  interAppPermissions: [{allowedSourceAppId: shop, allowedEvents: [order]}]\n"
    await registry.apply_files("desk", {"app.yaml": FILES["app.yaml"] + rules}, message="Let the shop in")

    async def is_allowed(app_id: str, event: str, *permissions: str) -> bool:
        try:
            await registry.authorize_trigger(ApiKeyIdentity(app_id, "key001", permissions), "desk", event)
        except PermissionDenied:
            return False
        return True

    assert await is_allowed("desk", "anything", "trigger:*")
    assert not await is_allowed("desk", "anything", "invoke:*")
    assert await is_allowed("shop", "order", "trigger:order")
    assert not await is_allowed("shop", "order", "invoke:*")
    assert not await is_allowed("shop", "refund", "*")
    assert not await is_allowed("other", "order", "*")
