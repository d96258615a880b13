"""Which UHLP this is: what `version` in pyproject.toml says, by way of the installed package."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def own_version() -> str:
    """Such as `0.1.0`; `checkout` where UHLP runs without being installed."""
    try:
        return version("uhlp")
    except PackageNotFoundError:
        return "checkout"
