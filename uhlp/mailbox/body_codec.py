"""BodyCodec: bodies of one type as JSON, whatever the store."""

from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from uhlp.errors import PayloadTooLarge, ValidationFailed

BodyT = TypeVar("BodyT")


class BodyCodec(Generic[BodyT]):
    """`body` is a Pydantic model or any other type that Pydantic reads and writes."""

    def __init__(self, body: type[BodyT], *, most_bytes: int) -> None:
        self._adapter: TypeAdapter[BodyT] = TypeAdapter(body)
        self._most_bytes = most_bytes

    def encode(self, body: BodyT) -> bytes:
        """JSON that `decode` reads. ValidationFailed: it is not of the type; PayloadTooLarge: over the limit."""
        try:
            raw = self._adapter.dump_json(self._adapter.validate_python(body), by_alias=True)
            self._adapter.validate_json(raw)
        except (ValidationError, PydanticSerializationError) as error:
            raise ValidationFailed(f"the body does not fit the mailbox: {_summary(error)}") from None
        if len(raw) > self._most_bytes:
            raise PayloadTooLarge(f"the body has {len(raw)} bytes of JSON; a message takes {self._most_bytes}")
        return raw

    def decode(self, raw: bytes) -> BodyT:
        """What `encode` made. ValidationFailed, without any of the body, when it is something else."""
        try:
            return self._adapter.validate_json(raw)
        except ValidationError as error:
            raise ValidationFailed(f"the body cannot be read: {_summary(error)}") from None


def _summary(error: ValidationError | PydanticSerializationError) -> str:
    if isinstance(error, PydanticSerializationError):
        return "it has no JSON"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the body'}: {first['type']}"
