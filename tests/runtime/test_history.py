"""What of a conversation the model is shown again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agent_runtime.agent.history import estimated_tokens, trimmed, without_tools
from agent_runtime.agent.model import Message


def turn(number: int, *, size: int = 400) -> tuple[Message, ...]:
    """A question, a call of a tool, its result and an answer; about `size` tokens."""
    call = {"type": "tool_use", "id": f"toolu_{number}", "name": "x", "input": {}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "x" * 4 * size}
    return (
        Message("user", f"Question {number}"),
        Message("assistant", (call,)),
        Message("user", (result,)),
        Message("assistant", f"Answer {number}"),
    )


def conversation(turns: int) -> tuple[Message, ...]:
    return tuple(message for number in range(turns) for message in turn(number))


def test_what_fits_is_shown_whole() -> None:
    history = conversation(3)

    assert trimmed(history, 100_000) is history


def test_what_is_shown_fits_and_begins_with_a_question() -> None:
    for turns in range(1, 60):
        shown = trimmed(conversation(turns), 4000)

        assert sum(estimated_tokens(message) for message in shown) <= 4000
        assert shown[0].begins_turn
        assert shown[-1].content == f"Answer {turns - 1}"


@pytest.mark.parametrize("before", [0, 1, 20])
def test_the_newest_turn_is_shown_whatever_its_size_and_alone_where_it_is_too_large(before: int) -> None:
    newest = turn(before, size=5000)

    assert trimmed((*conversation(before), *newest), 4000) == newest


def test_the_beginning_stays_the_same_for_several_turns_so_that_the_cache_of_the_provider_serves() -> None:
    beginnings = [trimmed(conversation(turns), 10_000)[0] for turns in range(30, 60)]

    changes = sum(former != latter for former, latter in pairwise(beginnings))
    assert 1 <= changes <= len(beginnings) // 3


def test_an_image_counts_as_what_it_costs_not_as_its_bytes() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x" * 1_000_000}}

    assert estimated_tokens(Message("user", (image,))) == 1600


def test_letters_of_other_scripts_count_more() -> None:
    assert estimated_tokens(Message("user", "天气" * 100)) > estimated_tokens(Message("user", "ab" * 100))


def test_without_tools_a_conversation_is_what_was_said() -> None:
    cited = {"type": "text", "text": "It rains.", "citations": [{"url": "https://a.example"}]}
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    image = {"type": "image", "source": {}}
    history = (
        *turn(1),
        Message("user", ({"type": "text", "text": "And?"}, image)),
        Message("assistant", (search, found, cited)),
    )

    assert without_tools(history) == (
        Message("user", "Question 1"),
        Message("assistant", "Answer 1"),
        Message("user", ({"type": "text", "text": "And?"}, image)),
        Message("assistant", "It rains."),
    )
