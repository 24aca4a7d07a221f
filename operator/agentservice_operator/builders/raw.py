"""Parts of a spec that go into a child as the user wrote them, in the form in which the server stores them."""

from __future__ import annotations

from typing import Any

from agentservice_operator.builders.quantities import canonical


def as_stored(raw: Any) -> Any:
    """A raw part without nulls and empty lists, its quantities canonical, its keys sorted, anything else as it is.

    Quantities are ``value`` and ``averageValue`` of a MetricTarget, ``tolerance`` of HPAScalingRules (autoscaling/v2).

    Args:
        raw: Such as ``spec.runtime.affinity``. Empty maps stay: a selector that is there and empty selects everything.
    """
    if isinstance(raw, list):
        return [as_stored(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    return {key: _field(key, value) for key, value in sorted(raw.items()) if value is not None and value != []}


def _field(key: str, value: Any) -> Any:
    if key == "tolerance":
        return _quantity(value)
    if key == "target" and isinstance(value, dict):
        quantities = {name: _quantity(value[name]) for name in ("value", "averageValue") if name in value}
        return as_stored({**value, **quantities})
    return as_stored(value)


def _quantity(value: Any) -> Any:
    try:
        return canonical(str(value))
    except (ValueError, ArithmeticError):
        return value  # the server refuses it with a better sentence than ours
