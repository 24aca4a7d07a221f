"""Anthropic: the Messages API through the official SDK. Importing this module imports the SDK, which takes seconds."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import date, datetime
from pathlib import Path
from typing import cast

import anthropic
import httpx2
import structlog
from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types import MessageParam, OutputConfigParam, ToolUnionParam

from agent_runtime.agent.model import Completed, Message, ModelCallError, ModelEvent, ModelRequest
from agent_runtime.agent.providers.messages_stream import MessagesStream, failure_name
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

CONNECT_SECONDS = 5.0
_OVERLOADED = 529
FAILURE_LIMIT_BYTES = 64 * 1024
"""Of the body of a refusal, which the SDK reads to its end, whenever that comes."""


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
                tools=cast("tuple[ToolUnionParam, ...]", request.tools) or anthropic.omit,
                tool_choice=anthropic.omit if request.may_call or not request.tools else {"type": "none"},
                output_config=_output_config(request),
                cache_control={"type": "ephemeral"},
                stream=True,
                # The SDK itself sends the key that it began with, as the bearer.
                extra_headers={"Authorization": f"Bearer {key}", "X-Api-Key": key},
            ) as response:
                answer = MessagesStream()
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


def _output_config(request: ModelRequest) -> OutputConfigParam | anthropic.Omit:
    if request.output_schema is None:
        return anthropic.omit
    return {"format": {"type": "json_schema", "schema": request.output_schema}}


def _param(message: Message) -> MessageParam:
    # The form inside is the form of the API.
    return cast("MessageParam", {"role": message.role, "content": message.content})


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
    status, kind = error.status_code, failure_name(error.type)
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
