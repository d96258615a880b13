"""What looks like a credential in a definition. Secrets are references (`secret:NAME`), never values."""

import re
from collections.abc import Iterator

_LOOKS = {
    "a model provider's key": rb"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}",
    "an AWS access key": rb"(?<![A-Z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Z0-9])",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a UHLP application key": rb"(?<![A-Za-z0-9])uhlp_[a-z0-9]{6,32}_[A-Za-z0-9_-]{16,}",
    "a UHLP admin token": rb"(?<![A-Za-z0-9])uhlp(?:_admin_[0-9a-f]{6,32}_|-admin-)[A-Za-z0-9_-]{16,}",
    "a GitHub token": rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}",
    "a Google API key": rb"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}",
}
MASK = "***"
_KEY_BLOCK = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ANY = re.compile(b"|".join(b"(%s)" % pattern for pattern in _LOOKS.values()))
_NAMES = tuple(_LOOKS)
_MARKS = (b"sk-", b"AKIA", b"ASIA", b"PRIVATE KEY", b"uhlp_", b"uhlp-", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_",
          b"github_pat_", b"xox", b"AIza")  # fmt: skip
"""Each pattern holds one of these: most files hold none, and looking for them takes a twentieth of the time."""


def find_secrets(content: bytes) -> Iterator[tuple[int, str]]:
    """Line (from 1) and kind of everything in a file that looks like a key; never the key itself."""
    if not any(mark in content for mark in _MARKS):
        return
    for found in _ANY.finditer(content):
        yield content.count(b"\n", 0, found.start()) + 1, _NAMES[(found.lastindex or 1) - 1]


def masked(text: str) -> str:
    """`text` with MASK for everything in it that looks like a key; of a private key all lines."""
    content = text.encode(errors="surrogatepass")
    if not any(mark in content for mark in _MARKS):
        return text
    return _ANY.sub(MASK.encode(), _KEY_BLOCK.sub(MASK.encode(), content)).decode(errors="surrogatepass")
