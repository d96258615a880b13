import sys
import types
from collections.abc import Iterator

import pytest

from tests.unit.demo.written_handlers import Deoptimize


@pytest.fixture(autouse=True)
def _runtime() -> Iterator[None]:
    """The module that handlers import inside a sandbox."""
    module = types.ModuleType("uhlp_runtime")
    module.Deoptimize = Deoptimize  # type: ignore[attr-defined]
    sys.modules["uhlp_runtime"] = module
    yield
    del sys.modules["uhlp_runtime"]
