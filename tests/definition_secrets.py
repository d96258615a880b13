"""Secrets that every application may name."""

from collections.abc import Collection, Mapping

from uhlp.access.definition_secrets import DefinitionSecrets, SecretSettings


def for_every_application(secrets: Mapping[str, str], *, own: Collection[str] = ()) -> DefinitionSecrets:
    """All of `secrets` but the server's `own`."""
    return DefinitionSecrets(settings=SecretSettings(applications={"*": ("*",)}), read=secrets.get, own=own)
