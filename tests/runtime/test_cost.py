"""What calls cost: against the public list, the configuration, and both in answers, logs and metrics."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price

from agent_runtime.agent.model import Usage
from agent_runtime.config import ModelConfig
from agent_runtime.cost import Prices, open_prices, usd
from agent_runtime.settings import load_config
from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import anthropic_model, echo_model, runtime_process, write_config

PRICED = {
    "input_per_million": "3",
    "output_per_million": "15",
    "cache_read_per_million": "0.3",
    "cache_write_per_million": "3.75",
    "web_search_per_thousand": "10",
}


async def listed(directory: Path, name: str) -> Prices:
    """Prices of a service whose model `main` is called `name` at the provider."""
    model = anthropic_model("main", "http://127.0.0.1:1", directory / "key")
    model["anthropic"]["model"] = name
    return await open_prices(load_config(write_config(directory, models=[model])))


def configured(**pricing: str) -> Prices:
    return Prices([ModelConfig.model_validate(echo_model(pricing={**PRICED, **pricing}))], None)


def cost(prices: Prices, usage: Usage, wire_model: str | None = None) -> int | None:
    price = prices.of("main", wire_model)
    return None if price is None else price.microdollars(usage)


@pytest.mark.parametrize("name", ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-opus-4-6"])
@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(input=1),
        Usage(input=1234, output=567, cache_read=89_012, cache_write=3456, web_searches=3),
        Usage(input=100_000, output=1000),
        Usage(input=60_000, output=1000, cache_read=40_001),
        Usage(input=1, output=7, cache_read=250_000, cache_write=250_000, web_searches=1),
    ],
)
async def test_costs_what_the_public_list_says(tmp_path: Path, name: str, usage: Usage) -> None:
    expected = calc_price(
        ListedUsage(
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            web_searches=usage.web_searches,
        ),
        name,
        provider_id="anthropic",
    ).total_price

    microdollars = cost(await listed(tmp_path, name), usage)

    assert microdollars is not None
    assert 0 <= microdollars - expected * 1_000_000 < 1


async def test_a_long_prompt_of_haiku_costs_five_times_as_much_per_token(tmp_path: Path) -> None:
    prices = await listed(tmp_path, "claude-haiku-5-5")

    assert cost(prices, Usage(input=100_000, output=1000)) == 10_500
    assert cost(prices, Usage(input=100_001, output=1000)) == 52_501


async def test_a_model_that_nobody_prices_is_unpriced_not_free(tmp_path: Path) -> None:
    prices = await listed(tmp_path, "claude-of-a-gateway")

    assert cost(prices, Usage(input=1)) is None
    assert usd(None) is None


async def test_a_gateway_that_says_who_answered_is_priced_by_that(tmp_path: Path) -> None:
    prices = await listed(tmp_path, "claude-of-a-gateway")

    assert cost(prices, Usage(input=1_000_000), "claude-sonnet-5-5") == 2_000_000
    assert cost(prices, Usage(input=1_000_000), "somebody-else") is None


async def test_names_that_a_provider_makes_up_are_not_kept_for_ever(tmp_path: Path) -> None:
    prices = await listed(tmp_path, "claude-sonnet-5-5")

    for number in range(1000):
        assert cost(prices, Usage(input=1), f"made-up-{number}") == 2

    assert len(prices._found) < 100


def test_the_configuration_wins_over_the_list() -> None:
    usage = Usage(input=1000, output=100, cache_read=10_000, cache_write=1000, web_searches=2)

    assert cost(configured(), usage, "claude-haiku-5-5") == 3000 + 1500 + 3000 + 3750 + 20_000


def test_kinds_that_the_configuration_leaves_out_follow_the_input() -> None:
    without = {key: price for key, price in PRICED.items() if not key.startswith("cache")}
    prices = Prices([ModelConfig.model_validate(echo_model(pricing=without))], None)

    assert cost(prices, Usage(cache_read=1000)) == 3000
    assert cost(prices, Usage(cache_write=1000)) == 3750


def test_a_part_of_a_microdollar_is_never_lost() -> None:
    prices = configured(input_per_million="0.000001")

    assert cost(prices, Usage(input=1)) == 1
    assert cost(prices, Usage(input=1_000_000)) == 1
    assert cost(prices, Usage(input=1_000_001)) == 2
    assert usd(1) == float(Decimal("0.000001"))


def test_echo_is_free() -> None:
    assert cost(Prices([ModelConfig.model_validate(echo_model())], None), Usage(input=10, output=10)) == 0


def test_answer_stream_log_and_metric_tell_the_same_cost(tmp_path: Path) -> None:
    with runtime_process(tmp_path, models=[echo_model(pricing=PRICED)]) as runtime:
        answer = runtime.chat("one two three").json()
        *_, done = runtime.stream("one two three")
        line = runtime.request_line(answer["request_id"])

        expected = answer["usage"]["input_tokens"] * 3 + answer["usage"]["output_tokens"] * 15
        assert answer["cost_usd"] == expected / 1_000_000 > 0
        assert done.data["cost_usd"] == line["cost_usd"] == answer["cost_usd"]
        assert runtime.metric("agent_cost_usd_total", agent="main", model="main") == pytest.approx(2 * expected / 1e6)


def test_searches_that_the_provider_made_are_counted_and_paid(provided: Provided) -> None:
    usage: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 0, "server_tool_use": {"web_search_requests": 3}}
    provided.provider.script({"usage": usage})

    answer = provided.runtime.chat().json()

    assert answer["usage"]["web_searches"] == 3
    assert answer["cost_usd"] == 0.002 + 0.03
