"""DefinitionSecrets: which secrets the definition of which application may name."""

from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from uhlp.secret_references import SecretReader, is_servers_own, resolve, secret_reader

Owner = Annotated[str, Field(pattern=r"^(?:\*|[a-z][a-z0-9-]{1,62})$")]
SecretName = Annotated[str, Field(pattern=r"^(?:\*|[A-Za-z_][A-Za-z0-9_.-]{0,127}\*?)$")]


class SecretSettings(BaseModel):
    """Whoever writes a definition says where its secrets are sent, so no application may name another's.

    An application may always name the files of its own folder, `<data_dir>/secrets/<appId>/NAME`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    applications: dict[Owner, tuple[SecretName, ...]] = {}
    """Further ones, by application (`*`: every one): names of variables, or of files in `<data_dir>/secrets`; `SHOP_*`
    stands for all that begin so. What the settings themselves refer to, and `UHLP_…`, stays the server's own."""


class DefinitionSecrets:
    """What `secret:NAME` in a definition stands for. A file of the application's own comes before what is listed.

    `read` gives the secrets that applications share with each other; `own` names those of the server alone.
    """

    def __init__(
        self, *, settings: SecretSettings, read: SecretReader, own: Collection[str] = (), folder: Path | None = None
    ) -> None:
        self._listed = settings.applications
        self._read = read
        self._own = own
        self._folder = folder

    def refusal(self, app_id: str, name: str) -> str | None:
        """Why the application may not name it, and what to do; None when it may. Reads files: call it in a thread."""
        if is_servers_own(name, self._own):
            return f"secret:{name} is this server's own and goes to nobody"
        if self._is_listed(app_id, name) or self._of_application(app_id, name) is not None:
            return None
        return (
            f"secret:{name} is not for {app_id}: the operator lists it in the settings (secrets.applications), "
            f"or puts it into the file secrets/{app_id}/{name} of the data directory"
        )

    def read(self, app_id: str, name: str) -> str | None:
        """The secret; None when there is none, or the application may not name it. Reads files."""
        if is_servers_own(name, self._own):
            return None
        found = self._of_application(app_id, name)
        return self._read(name) if found is None and self._is_listed(app_id, name) else found

    def resolve(self, app_id: str, reference: str) -> str | None:
        """What `secret:NAME` stands for; else as `read`."""
        return resolve(reference, lambda name: self.read(app_id, name))

    def _of_application(self, app_id: str, name: str) -> str | None:
        return None if self._folder is None else secret_reader({}, self._folder / app_id)(name)

    def _is_listed(self, app_id: str, name: str) -> bool:
        listed = (*self._listed.get(app_id, ()), *self._listed.get("*", ()))
        return any(fnmatchcase(name, one) for one in listed)
