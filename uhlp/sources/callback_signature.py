"""Whether a callback was signed by who knows its secret."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from uhlp.errors import Unauthorized
from uhlp.models.trigger import SignatureVerification

_LONGEST_TIMESTAMP = 15


def check_signature(
    verification: SignatureVerification, *, secret: str, headers: Mapping[bytes, bytes], body: bytes, now: float
) -> bytes:
    """The signature, which is the same when the same is sent again. `now` is in seconds since the epoch.

    Raises Unauthorized when it is missing, wrong or too old; nothing says which of the last two.
    """
    given = headers.get(verification.header.lower().encode())
    if given is None:
        raise Unauthorized(f"This callback is signed: send {verification.header}, or an application key.")
    signed = body
    is_fresh = True
    if verification.timestamp_header is not None:
        timestamp = headers.get(verification.timestamp_header.lower().encode(), b"").strip()
        is_number = timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP
        is_fresh = is_number and abs(now - int(timestamp)) <= verification.tolerance_s
        signed = timestamp + b"." + body
    digest = hmac.new(secret.encode(), signed, getattr(hashlib, verification.algorithm)).digest()
    expected = digest.hex().encode() if verification.encoding == "hex" else base64.b64encode(digest)
    prefix, sent = verification.prefix.encode(), given.strip()
    is_right = hmac.compare_digest(sent, prefix + expected)
    if not (is_right and is_fresh):
        raise Unauthorized("The callback's signature is not valid.")
    return digest
