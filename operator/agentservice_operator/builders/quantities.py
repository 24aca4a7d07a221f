"""Quantities as the API server stores them, so that what we apply equals what we read back.

Source: k8s.io/apimachinery pkg/api/resource/quantity.go. Its documentation promises a canonical form; its parser also
keeps texts as they are that only look canonical to it, such as ``1.250``.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal

_SYNTAX = re.compile(
    r"(?P<sign>[+-]?)(?=\.?\d)(?P<whole>\d*)\.?(?P<fraction>\d*)(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = ("", *_BINARY)
_LARGEST_BINARY = Decimal(2**63 - 1)
_FAST_DIGITS = 18
"""Digits that the server's parser reads without arbitrary precision; only such texts can be kept."""
_NANO, _MILLI = -9, -3
_EXACT = Context(prec=200)


def canonical(quantity: int | str, *, finest: int = _NANO) -> str:
    """The stored form of a quantity: ``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``, ``2`` is ``"2"``.

    Args:
        quantity: As users write it.
        finest: Power of ten to whose multiples finer values are rounded up; by default the server's own finest.

    Raises:
        ValueError: The text is no quantity.
    """
    text = str(quantity)
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity: write a number with an optional suffix, like 500m or 1Gi")
    whole, fraction, suffix = match["whole"].lstrip("0") or "0", match["fraction"], match["suffix"] or ""
    if _is_kept(whole, fraction, suffix, finest):
        return text
    value = _EXACT.multiply(Decimal(f"{match['sign']}{whole}.{fraction}"), _scale(suffix))
    value = _round_up(value, Decimal(10) ** finest)
    if suffix in _BINARY:
        value = min(max(value, -_LARGEST_BINARY), _LARGEST_BINARY)
        if abs(value) >= 1024 and value == value.to_integral_value():  # noqa: PLR2004 - one Ki
            return _binary(int(value))
    return _decimal(value, scientific=suffix not in _DECIMAL and suffix not in _BINARY)


def amount(quantity: int | str) -> Decimal:
    """How much a quantity is: ``1Ki`` is 1024.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _SYNTAX.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity: write a number with an optional suffix, like 500m or 1Gi")
    number = Decimal(f"{match['sign']}{match['whole'] or 0}.{match['fraction'] or 0}")
    return _EXACT.multiply(number, _scale(match["suffix"] or ""))


def canonical_resources(resources: dict[str, int | str]) -> dict[str, str]:
    """Resource requests or limits as stored; a pod template's are rounded up to thousandths (API defaulting)."""
    return {name: canonical(quantity, finest=_MILLI) for name, quantity in sorted(resources.items())}


def _is_kept(whole: str, fraction: str, suffix: str, finest: int) -> bool:
    """Whether the server's parser takes the text for canonical."""
    if suffix in _BINARY:
        short = len(whole) + 3 * _BINARY[suffix] < 15  # noqa: PLR2004 - decimal digits that it trusts an int64 with
        return not fraction and short and int(whole) % 8 != 0
    digits = whole + fraction
    scale = _exponent(suffix) - len(fraction)
    in_range = len(digits) <= _FAST_DIGITS and scale >= finest
    return in_range and scale % 3 == 0 and digits[0] != "0" and not digits.endswith("000")


def _scale(suffix: str) -> Decimal:
    return Decimal(1024) ** _BINARY[suffix] if suffix in _BINARY else Decimal(10) ** _exponent(suffix)


def _exponent(suffix: str) -> int:
    return _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])


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
