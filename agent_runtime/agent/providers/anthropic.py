"""Anthropic: the Messages API through the official SDK. Importing this module imports the SDK, which takes seconds."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import httpx2
import orjson
import structlog
from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types import AssistantMessageParam, UserMessageParam

from agent_runtime.agent.model import Completed, Message, ModelCallError, ModelEvent, ModelRequest, TextDelta, Usage
from agent_runtime.api.errors import (
    UPSTREAM_INTERRUPTED,
    UPSTREAM_MODEL_NOT_FOUND,
    UPSTREAM_OVERLOADED,
    UPSTREAM_REJECTED,
    UPSTREAM_UNAUTHORIZED,
    UPSTREAM_UNAVAILABLE,
)
from agent_runtime.config import AnthropicProvider as AnthropicConfig
from agent_runtime.credentials import CredentialsFile

_log = structlog.get_logger()

T = TypeVar("T")

CONNECT_SECONDS = 5.0
_OVERLOADED = 529
_OVERLOADED_TYPES = frozenset({"overloaded_error", "rate_limit_error"})
LINE_LIMIT_BYTES = 1024 * 1024
"""An event has one piece of text; the whole line of it is held."""
ANSWER_LIMIT_CHARACTERS = 4 * 1024 * 1024
"""Four times what the most tokens that a model may be asked for, 200,000, make."""
FAILURE_LIMIT_BYTES = 64 * 1024
"""Of the body of a refusal, which the SDK reads to its end, whenever that comes."""
_NAME = re.compile(r"[!-~]{1,128}")
_KIND = re.compile(r"[a-z_]{1,64}")
_REPEATABLE_TYPES = frozenset({"api_error", "timeout_error"})


class AnthropicProvider:
    """One model on the Messages API.

    The answer is read from the raw server-sent events: building the SDK's objects from them costs five times as much.
    """

    def __init__(self, config: AnthropicConfig, tls: ssl.SSLContext) -> None:
        self._model = config.model
        self.retires = retirement(config.model)
        self._credentials = CredentialsFile(Path(config.credentials_file))
        self._client = anthropic.AsyncAnthropic(
            api_key=self._credentials.read(),
            base_url=config.base_url,
            max_retries=0,  # the tries are ours: they end with the first text, and a fallback may follow
            # Reading has no limit of its own: the first-token timeout and the deadline of the request end it.
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            # A redirect would carry the key and the prompt to wherever the provider likes, also inside the cluster.
            # Proxies come from the environment, as the installation sets it.
            http_client=anthropic.DefaultAioHttpClient(
                verify=tls, follow_redirects=False, event_hooks={"response": [_bound_failure]}
            ),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask once, and once more where the key was refused and has been renewed in the meantime."""
        key = await self._credentials.current()
        for again in (False, True):
            try:
                async with aclosing(self._stream(request, key)) as events:
                    async for event in events:
                        yield event
            except anthropic.AuthenticationError:
                renewed = await self._credentials.reread()
                if again or renewed == key:
                    raise ModelCallError(
                        UPSTREAM_UNAUTHORIZED, "The provider refused the key in the Secret of this model."
                    ) from None
                _log.info("credentials renewed", model=self._model)
                key = renewed
            else:
                return

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _stream(self, request: ModelRequest, key: str) -> AsyncGenerator[ModelEvent, None]:
        try:
            async with self._client.messages.with_streaming_response.create(
                model=self._model,
                max_tokens=request.max_tokens,
                system=request.system or anthropic.omit,
                messages=[_param(message) for message in request.messages],
                cache_control={"type": "ephemeral"},
                stream=True,
                # The SDK itself sends the key that it began with, as the bearer.
                extra_headers={"Authorization": f"Bearer {key}", "X-Api-Key": key},
            ) as response:
                answer = _Answer()
                async for chunk in response.iter_bytes():
                    for event in answer.read(chunk):
                        yield event
                        if isinstance(event, Completed):
                            return
                raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider ended its answer early.", retryable=True)
        except anthropic.AuthenticationError:
            raise
        except anthropic.APIStatusError as error:
            raise _from_status(error) from None
        except anthropic.APIConnectionError as error:
            raise ModelCallError(
                UPSTREAM_UNAVAILABLE, f"The provider cannot be reached ({_cause(error)}).", retryable=True
            ) from None
        except httpx2.TransportError as error:
            raise ModelCallError(
                UPSTREAM_INTERRUPTED, f"The provider broke off its answer ({_cause(error)}).", retryable=True
            ) from None


def retirement(model: str) -> date | None:
    """The day on which a model goes, None where none has been announced.

    Source: the SDK's own list, which it warns from; a date that it writes in another way counts as none.
    """
    words = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", DEPRECATED_MODELS.get(model, ""))
    try:
        return datetime.strptime(words, "%B %d, %Y").date()  # noqa: DTZ007 - a day, of no time zone
    except ValueError:
        return None


def _param(message: Message) -> UserMessageParam | AssistantMessageParam:
    if message.role == "user":
        return {"role": "user", "content": message.text}
    return {"role": "assistant", "content": message.text}


class _Answer:
    """One answer, read from the bytes of its server-sent events."""

    def __init__(self) -> None:
        self._rest = b""
        self._model = ""
        self._stop_reason = ""
        self._usage: dict[str, Any] = {}
        self._characters = 0

    def read(self, chunk: bytes) -> Iterator[ModelEvent]:
        """What `chunk` completes.

        Lines end with a line feed only: text libraries also split at U+2028 and its like, which JSON strings may hold.
        Each event of the Messages API has its data in one line.

        Raises:
            ModelCallError: the provider says that it failed, or nothing that can be understood.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                try:
                    event = self._understand(orjson.loads(line[len(b"data:") :]))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    _log.warning("provider sent what is not an answer", reason=type(error).__name__)
                    raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider sent what is not an answer.") from None
                if event is not None:
                    yield event
        if len(self._rest) > LINE_LIMIT_BYTES or self._characters > ANSWER_LIMIT_CHARACTERS:
            raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider sent more than an answer can have.")

    def _understand(self, event: dict[str, Any]) -> ModelEvent | None:
        match event["type"]:
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                text = _checked(event["delta"]["text"], str)
                self._characters += len(text)
                return TextDelta(text)
            case "message_start":
                self._model = _name(event["message"]["model"])
                self._usage |= event["message"]["usage"]
            case "message_delta":
                if reason := event["delta"].get("stop_reason"):
                    self._stop_reason = _name(reason)
                # Its counts are cumulative; those it leaves out stay as they were.
                self._usage |= {kind: count for kind, count in event["usage"].items() if count is not None}
            case "message_stop":
                return Completed(model=self._model, stop_reason=self._stop_reason, usage=_usage(self._usage))
            case "error":
                raise _from_event(event["error"])
        return None


def _usage(raw: dict[str, Any]) -> Usage:
    return Usage(
        input=_count(raw.get("input_tokens")),
        output=_count(raw.get("output_tokens")),
        cache_read=_count(raw.get("cache_read_input_tokens")),
        cache_write=_count(raw.get("cache_creation_input_tokens")),
    )


def _count(value: object) -> int:
    count = _checked(value or 0, int)
    if count < 0:
        raise ValueError("less than nothing")
    return count


def _name(value: object) -> str:
    if not _NAME.fullmatch(name := _checked(value, str)):
        raise ValueError("no name")
    return name


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} was expected")
    return value


def _kind(value: object) -> str:
    """The provider's name for a failure as callers and logs may see it: it could write anything there."""
    return value if isinstance(value, str) and _KIND.fullmatch(value) else "no known reason"


class _Beginning(httpx2.AsyncByteStream):
    """The first bytes of a stream."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = FAILURE_LIMIT_BYTES
        async for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_failure(response: httpx2.Response) -> None:
    if not response.is_success and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Beginning(response.stream)


def _from_status(error: anthropic.APIStatusError) -> ModelCallError:
    status, kind = error.status_code, _kind(error.type)
    _log.warning("provider refused", status=status, type=kind, upstream_request_id=error.request_id)
    if status in {httpx2.codes.TOO_MANY_REQUESTS, _OVERLOADED}:
        return ModelCallError(
            UPSTREAM_OVERLOADED,
            f"The provider answered {status}.",
            retryable=True,
            retry_after=_seconds(error.response.headers.get("retry-after")),
        )
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR or status == httpx2.codes.REQUEST_TIMEOUT:
        return ModelCallError(UPSTREAM_UNAVAILABLE, f"The provider answered {status}.", retryable=True)
    if status == httpx2.codes.NOT_FOUND:
        return ModelCallError(UPSTREAM_MODEL_NOT_FOUND, "The provider does not know the model.")
    if status == httpx2.codes.FORBIDDEN:
        return ModelCallError(UPSTREAM_UNAUTHORIZED, "The key of this model may not do this at the provider.")
    return ModelCallError(UPSTREAM_REJECTED, f"The provider answered {status} ({kind}).")


def _from_event(error: dict[str, Any]) -> ModelCallError:
    kind = _kind(error.get("type"))
    _log.warning("provider failed within its answer", type=kind)
    if kind in _OVERLOADED_TYPES:
        return ModelCallError(UPSTREAM_OVERLOADED, f"The provider says {kind}.", retryable=True)
    if kind in _REPEATABLE_TYPES:
        return ModelCallError(UPSTREAM_UNAVAILABLE, f"The provider says {kind}.", retryable=True)
    return ModelCallError(UPSTREAM_REJECTED, f"The provider says {kind}.")


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header or "")
    except ValueError:  # none, or a date: our own pause will do
        return None
    return seconds if 0 <= seconds < math.inf else None


def _cause(error: BaseException) -> str:
    """What it began with: every library in between has a name of its own for it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
