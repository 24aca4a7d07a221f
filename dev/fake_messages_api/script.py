"""Scripts: how the fake answers one request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]


class ToolUse(BaseModel):
    """A tool call in the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = "toolu_fake"
    name: str
    input: dict[str, Any] = {}


class Script(BaseModel):
    """One answer. Sent as JSON in the header `x-fake-script`, or put into the queue by POST /_script."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: tuple[dict[str, Any], ...] = ()
    """Blocks before the text, as the API has them: server_tool_use, web_search_tool_result, thinking, cited text."""
    deltas: tuple[str, ...] = ("Hello ", "from ", "the ", "fake ", "model.")
    """The text of the answer; streamed piece by piece."""
    tool_use: tuple[ToolUse, ...] = ()
    """Tool calls after the text; the stop reason is then tool_use."""
    stop_reason: str | None = None
    """None: tool_use with tool calls, else end_turn."""
    usage: dict[str, Any] = {}
    """Counts that differ from the usual ones, as the API names them."""

    status: int = 200
    """Another status gives an error with this status, whose type is the API's for it."""
    error_type: str | None = None
    """Type of that error, or of the one within the stream; None: the API's for the status, or overloaded_error."""
    headers: dict[str, str] = {}
    """Further response headers, such as retry-after."""
    valid_key: str | None = None
    """401 for any other key."""

    headers_delay: Seconds = 0
    """Before the status line."""
    first_delay: Seconds = 0
    """Between the start of the stream and its first text."""
    delta_delay: Seconds = 0
    """Between two pieces of text."""

    error_after: Annotated[int, Field(ge=0)] | None = None
    """Within a stream with status 200: an error event after so many pieces of text."""
    cut_after: Annotated[int, Field(ge=0)] | None = None
    """Within a stream: the connection breaks after so many pieces of text."""
    end_after: Annotated[int, Field(ge=0)] | None = None
    """Within a stream: it ends in order, but too early, after so many pieces of text."""

    garbage_after: Annotated[int, Field(ge=0)] | None = None
    """Within a stream: an event that is not JSON after so many pieces of text."""

    times: Annotated[int, Field(ge=1)] | Literal["always"] = 1
    """How many requests the queue answers like this."""
