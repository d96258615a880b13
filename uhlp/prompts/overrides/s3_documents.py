"""S3Documents: override sets as objects of a bucket, which servers and workers on other machines share.

The only home of obstore. A write holds by the object's ETag (If-Match, If-None-Match), which the store must obey.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from uhlp.errors import DefinitionInvalid, OverrideStoreUnavailable
from uhlp.prompts.overrides.override_documents import ChangeNote, Held
from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet
from uhlp.prompts.overrides.versioned_document import VersionedDocument

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

T = TypeVar("T")


class S3Settings(BaseModel):
    """The bucket. `endpoint` is empty for AWS itself; without a key the machine's own identity is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str
    prefix: str = "uhlp"
    """What the names of all objects begin with."""

    region: str = "us-east-1"
    endpoint: str = ""
    """The URL of a store that speaks S3."""

    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    timeout_s: float = 5.0
    """How long one request may take."""


class S3Documents:
    """Objects are `<prefix>/overrides/<ns>/<key>/<tag>.json`. A set that is over stays until it is removed or the
    bucket's own lifecycle rule takes it. A temporary set that is removed leaves nothing: its tag belongs to one run, so
    nobody makes it anew, and each run would leave a dozen.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._store = _open(settings)

    async def read(self, identity: OverrideId) -> Held:
        document, e_tag = await self._get(identity)
        return Held(document.current, (document, e_tag))

    async def swap(self, identity: OverrideId, held: Held, overrides: OverrideSet | None, note: ChangeNote) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        if overrides is None and held.overrides is None:
            return True
        document, e_tag = held.token
        raw = document.followed_by(overrides).model_dump_json(by_alias=True, exclude_defaults=True).encode()
        mode: Any = "create" if e_tag is None else {"e_tag": e_tag}
        try:
            await _reached(obstore.put_async(self._store, _path(identity), raw, mode=mode))
        except (AlreadyExistsError, PreconditionError):
            return False
        if overrides is None and identity.is_temporary:
            await _reached(obstore.delete_async(self._store, _path(identity)))
        return True

    async def identities(self, ns: str, key: str | None = None) -> list[OverrideId]:
        import obstore

        prefix = f"overrides/{ns}/" if key is None else f"overrides/{ns}/{key}/"
        paths = [one["path"] for one in await _reached(obstore.list(self._store, prefix).collect_async())]
        identities = sorted(OverrideId(*path.removesuffix(".json").split("/")[1:]) for path in paths)
        return [one for one in identities if (await self.read(one)).overrides is not None]

    async def history(self, identity: OverrideId, limit: int) -> list[OverrideSet]:
        document, _ = await self._get(identity)
        return list(document.versions[:limit])

    async def _get(self, identity: OverrideId) -> tuple[VersionedDocument, str | None]:
        import obstore

        try:
            result = await _reached(obstore.get_async(self._store, _path(identity)))
            raw = bytes(await _reached(result.bytes_async()))
        except FileNotFoundError:
            return VersionedDocument(), None
        try:
            return VersionedDocument.model_validate_json(raw), result.meta["e_tag"]
        except ValidationError:
            raise DefinitionInvalid(f"What the bucket holds for {'/'.join(identity)} cannot be read.") from None


def _path(identity: OverrideId) -> str:
    return f"overrides/{identity.ns}/{identity.key}/{identity.tag}.json"


async def _reached(call: Awaitable[T]) -> T:
    """The call's result. OverrideStoreUnavailable where the bucket does not answer; what it says of the object itself
    (there is none, it is another by now) stays."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        return await call
    except (AlreadyExistsError, PreconditionError):
        raise
    except BaseError as error:
        raise OverrideStoreUnavailable(
            f"The bucket of the overrides does not answer: {type(error).__name__}.", retry_after_s=5.0
        ) from None


def _open(settings: S3Settings) -> "S3Store":
    from obstore.store import S3Store

    config: S3Config = {"region": settings.region}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
        config["virtual_hosted_style_request"] = False
    if settings.access_key_id:
        config["access_key_id"] = settings.access_key_id
        config["secret_access_key"] = settings.secret_access_key.get_secret_value()
    return S3Store(
        settings.bucket,
        prefix=settings.prefix,
        config=config,
        client_options={"allow_http": settings.endpoint.startswith("http://"), "timeout": f"{settings.timeout_s}s"},
        retry_config={"max_retries": 2},
    )
