"""Permissions of application keys, roles and other applications: `invoke:<componentId>`, `trigger:<event>`,
`tool:<name>`, `admin:*`, and `*` for all of them (contracts §2).
"""

import re
from collections.abc import Collection

from uhlp.models.definition import AppDefinition, SecurityConfig

_PERMISSION = re.compile(r"\*|(?:invoke|trigger|tool|admin):(?:\*|[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")


def is_permission(text: str) -> bool:
    """Whether a text has the form of a permission."""
    return _PERMISSION.fullmatch(text) is not None


def grants(granted: Collection[str], wanted: str) -> bool:
    """Whether the permissions hold `wanted`, all of its kind (`invoke:*`), or everything (`*`)."""
    return wanted in granted or f"{wanted.partition(':')[0]}:*" in granted or "*" in granted


def has_roles(security: SecurityConfig) -> bool:
    """Whether the application says what its users may do; without any role every known user may do everything."""
    return bool(security.user_roles)


def may_trigger(app: AppDefinition, *, source_app_id: str, event: str) -> bool:
    """Whether another application may send `event`: an InterAppPermission names it, or `*`."""
    return any(
        one.allowed_source_app_id == source_app_id and (event in one.allowed_events or "*" in one.allowed_events)
        for one in app.security_config.inter_app_permissions
    )
