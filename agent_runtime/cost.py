"""What model calls cost: whole micro-dollars, from prices that are looked up once per model.

A price is a number of USD per million tokens, which is the same number of micro-dollars per token. The rates below are
whole pico-dollars per token, so nothing is rounded before the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from agent_runtime.agent.model import Usage
from agent_runtime.config import ModelConfig, PricingConfig, RuntimeConfig

MICRODOLLARS = 1_000_000
"""Of one USD."""
_PICO_IN_MICRO = 1_000_000
_CACHE_WRITE_FACTOR = Decimal("1.25")
"""What Anthropic asks for a token written to a cache of five minutes, as a multiple of one that is not."""
_WIRE_NAMES = 64
"""Most names of models that are remembered: the provider says in each answer who gave it, and could say anything."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token of each kind, and per web search."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    web_search: int


@dataclass(frozen=True, slots=True)
class Price:
    """What the calls of one model cost.

    Args:
        tiers: rates, each for prompts of more tokens than the number beside it; the longest first, the last with -1.
            A prompt pays one rate for all its tokens.
    """

    tiers: tuple[tuple[int, Rates], ...]

    def microdollars(self, usage: Usage) -> int:
        """The cost of one model call; a part of a micro-dollar counts as a whole one."""
        prompt = usage.input + usage.cache_read + usage.cache_write
        rates = next(rates for above, rates in self.tiers if prompt > above)
        pico = (
            usage.input * rates.input
            + usage.output * rates.output
            + usage.cache_read * rates.cache_read
            + usage.cache_write * rates.cache_write
            + usage.web_searches * rates.web_search
        )
        return -(-pico // _PICO_IN_MICRO)


FREE = Price(((-1, Rates(0, 0, 0, 0, 0)),))


class PriceList(Protocol):
    """Prices by the provider's names of models."""

    def price(self, wire_model: str) -> Price | None:
        """None where the list lacks the model."""
        ...


class Prices:
    """The prices of the models of one service.

    Args:
        models: as configured; a price in the configuration wins over the list.
        listed: the public prices; None where no model needs them.
    """

    def __init__(self, models: Iterable[ModelConfig], listed: PriceList | None) -> None:
        self._fixed: dict[str, Price] = {}
        self._names: dict[str, str] = {}
        self._listed = listed
        self._found: dict[str, Price | None] = {}
        for model in models:
            if model.pricing is not None:
                self._fixed[model.name] = _price_of_spec(model.pricing)
            elif model.anthropic is None:
                self._fixed[model.name] = FREE
            else:
                self._names[model.name] = model.anthropic.model

    def of(self, handle: str, wire_model: str | None = None) -> Price | None:
        """The price of a model, None where nobody says one.

        Args:
            handle: that agents use.
            wire_model: who answered, as the provider says; a gateway may have more to say here than its own name.
        """
        if (price := self._fixed.get(handle)) is not None:
            return price
        if wire_model is not None and (price := self._look_up(wire_model)) is not None:
            return price
        return self._look_up(self._names[handle])

    def _look_up(self, name: str) -> Price | None:
        try:
            return self._found[name]
        except KeyError:
            if self._listed is None:
                return None
        price = self._listed.price(name)
        if len(self._found) < _WIRE_NAMES:
            self._found[name] = price
        return price


async def open_prices(config: RuntimeConfig) -> Prices:
    """The prices of all models; the public list is loaded where a model has no price of its own."""
    unpriced = [model for model in config.models if model.anthropic is not None and model.pricing is None]
    # Half a second of CPU: beside the loop, which goes on beating.
    prices = Prices(config.models, await asyncio.to_thread(_GenaiPrices) if unpriced else None)
    for model in unpriced:
        prices.of(model.name)
    return prices


def usd(microdollars: int | None) -> float | None:
    """As answers and logs show a cost; None, for a model without a price, stays None."""
    return None if microdollars is None else microdollars / MICRODOLLARS


def _price_of_spec(pricing: PricingConfig) -> Price:
    cache_read = pricing.cache_read_per_million
    cache_write = pricing.cache_write_per_million
    rates = Rates(
        input=_pico(pricing.input_per_million),
        output=_pico(pricing.output_per_million),
        cache_read=_pico(pricing.input_per_million if cache_read is None else cache_read),
        cache_write=_pico(pricing.input_per_million * _CACHE_WRITE_FACTOR if cache_write is None else cache_write),
        web_search=_pico(pricing.web_search_per_thousand * 1000),
    )
    return Price(((-1, rates),))


def _pico(usd_per_million: Decimal) -> int:
    return int(usd_per_million * _PICO_IN_MICRO)


class _GenaiPrices:
    """The list of the package genai-prices, as it stands at the start of the process."""

    def __init__(self) -> None:
        # Imported by need: it builds thousands of models, in half a second and ten megabytes.
        from genai_prices import data_snapshot, types  # noqa: PLC0415 - see above

        self._snapshot = data_snapshot.get_snapshot()
        self._tiered = types.TieredPrices

    def price(self, wire_model: str) -> Price | None:
        try:
            _, model = self._snapshot.find_provider_model(wire_model, None, "anthropic", None)
        except LookupError:
            return None
        prices = vars(model.get_prices(datetime.now(UTC)))
        if prices.get("input_mtok") is None or prices.get("output_mtok") is None:
            return None
        return Price(tuple((above, self._rates(prices, above)) for above in self._borders(prices)))

    def _borders(self, prices: Mapping[str, object]) -> Iterator[int]:
        """Where tiers begin, the highest first, and -1."""
        tiered = [price for price in prices.values() if isinstance(price, self._tiered)]
        yield from sorted({tier.start for price in tiered for tier in price.tiers}, reverse=True)
        yield -1

    def _rates(self, prices: Mapping[str, object], above: int) -> Rates:
        """The rates of prompts of more than `above` tokens; a kind that is not listed costs what its input costs."""

        def rate(key: str) -> int | None:
            price = prices.get(key)
            if isinstance(price, self._tiered):
                reached = [tier.price for tier in price.tiers if tier.start <= above]
                price = reached[-1] if reached else price.base
            return _pico(price) if isinstance(price, Decimal) else None

        plain = rate("input_mtok") or 0
        read, write = rate("cache_read_mtok"), rate("cache_write_mtok")
        return Rates(
            input=plain,
            output=rate("output_mtok") or 0,
            cache_read=plain if read is None else read,
            cache_write=plain if write is None else write,
            web_search=(rate("web_searches_kcount") or 0) * 1000,
        )
