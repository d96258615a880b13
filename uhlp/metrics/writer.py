"""Writer: who records, and what is theirs."""

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import NamedTuple

from uhlp.errors import PermissionDenied
from uhlp.metrics.cardinality import SHARED
from uhlp.metrics.metric_names import APPLICATION_LABEL


class Writer(NamedTuple):
    """`applications`: those that have a share of their own, None for all. With `app_id` all that is written is this
    application's: its label is filled in, another one's is refused. So are the labels of `identity`, what else is known
    of who writes: componentId, sandboxId, handlerType, poolName.
    """

    applications: Container[str] | None = None
    app_id: str | None = None
    identity: Mapping[str, str] = MappingProxyType({})

    def own(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """`labels` as this writer may write them. Raises PermissionDenied for another application's, or any other
        label that says something else than what is known.
        """
        if self.app_id is None:
            return labels
        known = {**self.identity, APPLICATION_LABEL: self.app_id}
        for label, own in known.items():
            if labels.get(label, own) != own:
                raise PermissionDenied(f"The label {label} is the writer's own, '{own}'.")
        return {**labels, **known}

    def share(self, labels: Mapping[str, str]) -> str:
        """Whose share of the series is used."""
        app_id = labels.get(APPLICATION_LABEL, SHARED)
        return app_id if self.applications is None or app_id in self.applications else SHARED
