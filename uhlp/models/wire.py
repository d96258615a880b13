"""The base of every wire model: frozen, camelCase on the wire, unknown fields refused."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """A value that travels: frozen in memory, camelCase as JSON. Pydantic keeps none of the texts that it reads: its
    cache would hold thousands of them for good.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, cache_strings="none"
    )
