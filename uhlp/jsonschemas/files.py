"""The published schemas, `schemas/*.schema.json`."""

from pathlib import Path
from typing import Any

from uhlp import strict_json

_ROOM = Path(__file__).resolve()
CHECKOUT_FOLDER = _ROOM.parents[2] / "schemas"
WHEEL_FOLDER = _ROOM.parents[1] / "schemas"


def schema_file(name: str) -> dict[str, Any]:
    """The schema `<name>.schema.json`, from uhlp/schemas in an installed wheel, else from the checkout's schemas/.

    Raises FileNotFoundError when neither has it.
    """
    folder = WHEEL_FOLDER if WHEEL_FOLDER.is_dir() else CHECKOUT_FOLDER
    schema = strict_json.loads((folder / f"{name}.schema.json").read_bytes())
    assert isinstance(schema, dict), name  # noqa: S101  our own file
    return schema
