"""Writer: who records, and what is theirs."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from uhlp.errors import PermissionDenied
from uhlp.metrics.cardinality import SHARED
from uhlp.metrics.metric_names import APPLICATION_LABEL


class Writer(NamedTuple):
    """`applications`: those that have a share of their own, None for all. With `app_id` all that is written is this
    application's: its label is filled in, another one's is refused.
    """

    applications: Container[str] | None = None
    app_id: str | None = None

    def own(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """`labels` as this writer may write them. Raises PermissionDenied for another application's."""
        if self.app_id is None or labels.get(APPLICATION_LABEL) == self.app_id:
            return labels
        if APPLICATION_LABEL in labels:
            raise PermissionDenied(f"The label {APPLICATION_LABEL} is the writer's own application, '{self.app_id}'.")
        return {**labels, APPLICATION_LABEL: self.app_id}

    def share(self, labels: Mapping[str, str]) -> str:
        """Whose share of the series is used."""
        app_id = labels.get(APPLICATION_LABEL, SHARED)
        return app_id if self.applications is None or app_id in self.applications else SHARED
