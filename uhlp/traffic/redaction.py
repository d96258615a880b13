"""What a sample may keep: named fields and values that look like secrets are masked before anything is stored.

A component says which fields in its configuration: `redact: ["email", "/customer/card"]`. A name masks that field at
any depth, a JSON pointer (RFC 6901) one place in the input and in the output; `*` in a pointer stands for every element
or key of one level.
"""

import re
from collections.abc import Sequence
from typing import Any

REDACTED = "[redacted]"
SECRET = "[secret]"  # noqa: S105 (the mask, not a secret)

_SECRET_FIELD = re.compile(
    r"(?i)^(password|passwd|passphrase|secret|(api|access|private|secret)[-_]?key|(access|refresh|auth)[-_]?token"
    r"|client[-_]?secret|authorization|cookie|set-cookie)$"
)
_SECRET_VALUE = re.compile(
    r"\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}"  # OpenAI, Anthropic, Stripe
    r"|\buhlp_(?:admin_)?[a-z0-9]{6,32}_[A-Za-z0-9_-]{16,}|\buhlp-admin-[A-Za-z0-9_-]{16,}"  # our own
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}"  # GitHub
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\bAIza[0-9A-Za-z_-]{30,}"  # Google
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"  # JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/-]{16,}=*"
)
_LONG_WORD = re.compile(r"[A-Za-z0-9._~+/=-]{15}")
_KEY_END = "PRIVATE KEY-----"
"""Every secret holds one or the other. Looking for them first costs a tenth, and most texts have neither."""


class Redaction:
    """The redaction policy of one component. Masked values stay JSON values in their place, so that shapes hold."""

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self._names = frozenset(field for field in fields if not field.startswith("/"))
        self._pointers = tuple(
            tuple(part.replace("~1", "/").replace("~0", "~") for part in field[1:].split("/"))
            for field in fields
            if field.startswith("/")
        )

    @property
    def names_fields(self) -> bool:
        """Whether the component has a policy of its own."""
        return bool(self._names or self._pointers)

    def apply(self, value: Any) -> Any:
        """A copy of a JSON value with everything masked that must not be kept."""
        return self._masked(value, self._pointers)

    def _masked(self, value: Any, pointers: tuple[tuple[str, ...], ...]) -> Any:
        if isinstance(value, dict):
            return {key: self._member(key, item, pointers, by_name=True) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._member(str(i), item, pointers, by_name=False) for i, item in enumerate(value)]
        if isinstance(value, str) and (_LONG_WORD.search(value) or _KEY_END in value):
            return _SECRET_VALUE.sub(SECRET, value)
        return value

    def _member(self, key: str, item: Any, pointers: tuple[tuple[str, ...], ...], *, by_name: bool) -> Any:
        if by_name and (key in self._names or (item is not None and _SECRET_FIELD.match(key))):
            return REDACTED
        below = tuple(pointer[1:] for pointer in pointers if pointer[0] in (key, "*"))
        return REDACTED if () in below else self._masked(item, below)
