"""Which of a component's tools it may use for whom."""

from typing import Any

import pytest

from uhlp.tools.allowed_tools import tools_for_user

LISTED = ("core.state.getRuntimeValue", "core.state.setRuntimeValue", "community.warehouse.*")


@pytest.mark.parametrize(
    ("permissions", "usable"),
    [
        ([], LISTED),
        (["invoke:triage"], LISTED),
        (["invoke:triage", "tool:core.state.getRuntimeValue"], ("core.state.getRuntimeValue",)),
        (["tool:community.warehouse.stock"], ("community.warehouse.stock",)),
        (["tool:core.llm.generate", "tool:app.crm.find"], ()),
        (["tool:core.state.getRuntimeValue", "tool:*"], LISTED),
        (["tool:core.state.getRuntimeValue", "*"], LISTED),
    ],
)
def test_roles_that_name_tools_limit_what_is_used_for_their_users(permissions: list[str], usable: Any) -> None:
    assert tools_for_user(LISTED, {"userId": "ann", "roles": [], "permissions": permissions}) == usable


def test_without_a_user_the_component_has_what_it_lists() -> None:
    assert tools_for_user(LISTED, None) == LISTED
