"""Logs: structlog to standard error, as text for people or JSON lines for machines."""

import logging
import sys
from typing import Any, Literal

import structlog

from uhlp.recent_logs import RecentLogs


def configure_logs(form: Literal["text", "json"], level: str, *, recent: RecentLogs | None = None) -> None:
    """Set up logging for this process; `level` is the least severe that is written; `recent` keeps those lines as well.

    What libraries log takes the same form: uvicorn's lines from `level` on, all others from warning on.
    """
    least = getattr(logging, level.upper())
    facts: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *([recent.keep] if recent is not None else []),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*facts, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    drop_own_fields = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=facts, processors=[drop_own_fields, renderer])
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(max(least, logging.WARNING))
    server = logging.getLogger("uvicorn")
    server.handlers, server.propagate = [handler], False
    logging.getLogger("uvicorn.error").setLevel(least)
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL)  # its lines quote what other people's servers say
