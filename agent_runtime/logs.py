"""Logs: one JSON object per line, ours and the libraries', with the request id on every line of a request."""

from __future__ import annotations

import logging
import logging.config
import sys
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor

# These log headers, bodies or prompts at DEBUG, whatever level the operator of the service asks for.
_NEVER_BELOW_WARNING = ("anthropic", "httpx2", "httpcore2", "aiohttp", "asyncio", "uvicorn")
# Logs what servers say, with a traceback for each mistake of theirs; whoever called them tells how that ended.
_NEVER = ("mcp",)


def configure(level: Literal["debug", "info", "warning", "error"], service: str, *, text: bool = False) -> None:
    """Send every log line of this process through one renderer.

    Args:
        level: lines below it are dropped.
        service: name of the AgentService, on every line.
        text: for people at a terminal, not one JSON object per line.
    """

    def name_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        name_service,
    ]
    renderer: Processor = structlog.processors.JSONRenderer(serializer=_to_json)
    if text:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    # The SDK sets its own level when it is imported, to what ANTHROPIC_LOG says.
    handler.addFilter(_may_be_shown)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NEVER_BELOW_WARNING:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def _may_be_shown(record: logging.LogRecord) -> bool:
    library = record.name.partition(".")[0]
    return library not in _NEVER and (record.levelno >= logging.WARNING or library not in _NEVER_BELOW_WARNING)


def _to_json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
