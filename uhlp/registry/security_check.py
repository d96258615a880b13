"""What is wrong with an application's securityConfig."""

from collections.abc import Iterable

from argon2 import Type, extract_parameters
from argon2.exceptions import InvalidHashError

from uhlp.models.definition import SecurityConfig
from uhlp.registry.definition_files import APP_FILE, DefinitionReader
from uhlp.registry.hidden_hashes import HIDDEN_HASH
from uhlp.registry.permissions import is_permission

_MOST_MEMORY_KIB, _MOST_TIME, _MOST_LANES = 64 * 1024, 10, 4
"""Of a key's hash: checking a dearer one would take the server's memory or seconds of its time."""


def check_security(security: SecurityConfig, reader: DefinitionReader) -> None:
    """Keys, roles and permissions; problems go to `reader`, with lines."""
    key_ids = [key.key_id for key in security.api_keys]
    for index, key in enumerate(security.api_keys):
        at = f"/securityConfig/apiKeys/{index}"
        if key.key_id in key_ids[:index]:
            reader.problem(APP_FILE, f"{at}/keyId", f"the key id {key.key_id} is given twice")
        if fault := _fault_of_hash(key.key_hash):
            reader.problem(APP_FILE, f"{at}/keyHash", fault)
        _check_permissions(key.permissions, f"{at}/permissions", reader)
    for name, role in security.user_roles.items():
        at = f"/securityConfig/userRoles/{name}"
        if role.role_name != name:
            reader.problem(APP_FILE, f"{at}/roleName", f"the role {name} calls itself {role.role_name}")
        _check_permissions(role.permissions, f"{at}/permissions", reader)


def _check_permissions(permissions: Iterable[str], at: str, reader: DefinitionReader) -> None:
    for index, permission in enumerate(permissions):
        if not is_permission(permission):
            forms = "invoke:<componentId>, trigger:<event>, tool:<name>, admin:*, each also with *, or *"
            reader.problem(APP_FILE, f"{at}/{index}", f"{permission!r} is no permission: write {forms}")


def _fault_of_hash(key_hash: str) -> str | None:
    if key_hash == HIDDEN_HASH:
        return "keyHash is hidden in this text, which only an owner reads whole; a key that app.yaml leaves out stays"
    try:
        cost = extract_parameters(key_hash)
    except InvalidHashError:
        return "keyHash is no argon2id hash; let `POST …/api-keys` make the key"
    if cost.type is not Type.ID:
        return "keyHash must be argon2id"
    if cost.memory_cost > _MOST_MEMORY_KIB or cost.time_cost > _MOST_TIME or cost.parallelism > _MOST_LANES:
        most = f"m={_MOST_MEMORY_KIB},t={_MOST_TIME},p={_MOST_LANES}"
        return f"keyHash costs too much to check; at most {most}"
    return None
