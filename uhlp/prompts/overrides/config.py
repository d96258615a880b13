"""Where sets of overrides that belong to experiments stand."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from uhlp.prompts.overrides.s3_documents import S3Settings


class OverrideSettings(BaseModel):
    """Durable sets stand in each application's repository, temporary ones (`opt-…`) in the runtime store, or in a
    bucket that workers on other machines share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temporary: Literal["runtime", "s3"] = "runtime"
    """`runtime`: where runtime values are."""

    s3: S3Settings | None = None
    """The bucket, where `temporary` is `s3`."""

    @model_validator(mode="after")
    def _has_a_bucket(self) -> Self:
        if self.temporary == "s3" and self.s3 is None:
            raise ValueError("name the bucket: overrides.s3.bucket")
        return self
