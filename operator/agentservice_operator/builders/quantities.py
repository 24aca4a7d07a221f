"""Quantities as the API server stores them, so that what we apply equals what we read back.

Source: k8s.io/apimachinery resource.Quantity, "Before serializing, Quantity will be put in canonical form".
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal

_SYNTAX = re.compile(
    r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?",
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = ("", *_BINARY)
_LARGEST = Decimal(2**63 - 1)
_NANO, _MILLI = Decimal("1e-9"), Decimal("1e-3")
_EXACT = Context(prec=100)


def canonical(quantity: int | str, *, finest: Decimal = _NANO) -> str:
    """The stored form of a quantity: ``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``, ``2`` is ``"2"``.

    Args:
        quantity: As users write it.
        finest: What finer values are rounded up to; everywhere the server itself rounds up to a billionth.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _SYNTAX.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity: write a number with an optional suffix, like 500m or 1Gi")
    suffix = match["suffix"] or ""
    value = _EXACT.multiply(Decimal(match["number"]), _scale(suffix))
    value = min(max(_round_up(value, finest), -_LARGEST), _LARGEST)
    if suffix in _BINARY and abs(value) >= 1024 and value == value.to_integral_value():  # noqa: PLR2004 - one Ki
        return _binary(int(value))
    return _decimal(value, scientific=suffix[:1] in ("e", "E") and suffix != "E")


def canonical_resources(resources: dict[str, int | str]) -> dict[str, str]:
    """Resource requests or limits as stored; a pod template's are rounded up to thousandths (API defaulting)."""
    return {name: canonical(quantity, finest=_MILLI) for name, quantity in sorted(resources.items())}


def _scale(suffix: str) -> Decimal:
    if suffix in _BINARY:
        return Decimal(1024) ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return Decimal(10) ** _DECIMAL[suffix]
    return Decimal(f"1{suffix}")


def _round_up(value: Decimal, step: Decimal) -> Decimal:
    """Away from zero, as Quantity.RoundUp does."""
    magnitude = abs(value).quantize(step, rounding=ROUND_CEILING, context=_EXACT)
    return magnitude.copy_sign(value)


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < len(_BINARY_SUFFIX) - 1:
        value, power = value // 1024, power + 1
    return f"{value}{_BINARY_SUFFIX[power]}"


def _decimal(value: Decimal, *, scientific: bool) -> str:
    if value == 0:
        return "0"
    exponent = max(
        e for e in _DECIMAL_SUFFIX if value.scaleb(-e, _EXACT) == value.scaleb(-e, _EXACT).to_integral_value()
    )
    mantissa = int(value.scaleb(-exponent, _EXACT))
    if scientific:
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"
