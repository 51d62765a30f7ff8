"""Structured logs on standard error: JSON under a service manager, readable on a terminal."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(style: str = "auto", *, verbose: bool = False) -> None:
    """Set up logging. style: auto, json or text. No log call may be given a key, a token or a request body."""
    readable = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not readable:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # aiohttp and alembic log through the standard library. Only warnings and errors of theirs are wanted.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
