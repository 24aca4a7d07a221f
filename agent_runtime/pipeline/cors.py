"""Stage: web pages of other origins may ask, and read every answer, also those of the stages behind this one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from agent_runtime.settings import ConfigurationError, Environment

ANY_ORIGIN = "*"
EXPOSED_HEADERS = (
    "X-Request-ID",
    "X-Process-Time",
    "Retry-After",
    "WWW-Authenticate",
    "Location",
    "x-should-retry",
    "Idempotent-Replayed",
)
"""What pages may read besides what every answer has in a browser."""
_METHODS = ("GET", "POST", "DELETE")
_HEADERS = ("Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID", "X-Request-ID")
"""What pages may send besides what they may send to everybody."""


def cors(origins: Collection[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Answer the questions of browsers whether a page of an origin may ask, which carry no key and count as nothing.

    Cookies mean nothing here, so no page is told to send any.
    """
    return partial(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )


def check_origins(origins: Collection[str], environment: Environment) -> None:
    """See that in production the pages that may ask are named.

    Raises:
        ConfigurationError: they are not.
    """
    if environment == "production" and ANY_ORIGIN in origins:
        raise ConfigurationError(
            "cors_allowed_origins: * lets any web page ask, which ENVIRONMENT=production refuses; name the origins, in "
            "exposure.cors.allowedOrigins of the AgentService or in CORS_ORIGINS"
        )
