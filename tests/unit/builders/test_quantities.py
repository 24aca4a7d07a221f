"""Quantities in the form in which the API server stores them; the same table goes through a real one."""

from __future__ import annotations

from decimal import Decimal

import hypothesis.strategies as st
import pytest
from agentservice_operator.builders.quantities import canonical, canonical_resources
from hypothesis import given, settings

STORED = {
    "0": "0",
    "0Gi": "0",
    "2": "2",
    "0.5": "500m",
    ".5": "500m",
    "1.": "1.",
    "1.25": "1250m",
    "1.250": "1.250",
    "0.250": "250m",
    "1.000": "1",
    "1.2500000000": "1250m",
    "001.250": "001.250",
    "1000m": "1",
    "1500m": "1500m",
    "1000": "1k",
    "1024": "1024",
    "1000000": "1M",
    "1e3": "1e3",
    "1E3": "1E3",
    "1e2": "100",
    "12e4": "120e3",
    "1E": "1E",
    "1Ki": "1Ki",
    "1024Ki": "1Mi",
    "1024Mi": "1Gi",
    "1.5Gi": "1536Mi",
    "0.5Ki": "512",
    "1000Ki": "1000Ki",
    "1.0001Ki": "1024102400u",
    "0.1": "100m",
    "100n": "100n",
    "0.1n": "1n",
    "100Ei": "9223372036854775807",
    "+1": "+1",
    "100E": "100E",
    "1025Ki": "1025Ki",
    "1234567890123Ki": "1234567890123Ki",
    "8Ki": "8Ki",
    "08Ki": "8Ki",
    "07Ki": "07Ki",
}


@pytest.mark.parametrize(("written", "stored"), STORED.items())
def test_a_quantity_takes_its_stored_form(written: str, stored: str) -> None:
    assert canonical(written) == stored


def test_a_number_is_a_quantity_too() -> None:
    assert canonical(2) == "2"


def test_resources_are_rounded_up_to_thousandths() -> None:
    assert canonical_resources({"cpu": "0.0001", "memory": "1Gi"}) == {"cpu": "1m", "memory": "1Gi"}


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1GI", "one", "0x10", "1\n"])
def test_what_is_no_quantity_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity: write a number with an optional suffix"):
        canonical(text)


@settings(max_examples=50, deadline=None)
@given(
    st.decimals(min_value=0, max_value=10**6, places=3, allow_nan=False),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "E-2"]),
)
def test_the_stored_form_is_final_and_means_the_same(number: Decimal, suffix: str) -> None:
    stored = canonical(f"{number}{suffix}")

    assert canonical(stored) == stored
    assert value(stored) == value(f"{number}{suffix}").quantize(Decimal("1e-9"))


def value(quantity: str) -> Decimal:
    factors = {"Ki": "1024", "Mi": "1048576", "Gi": "1073741824", "Ti": "1099511627776", "Pi": "1125899906842624"}
    factors |= {"n": "1e-9", "u": "1e-6", "m": "1e-3", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
    for suffix, factor in factors.items():
        if quantity.endswith(suffix):
            return Decimal(quantity.removesuffix(suffix)) * Decimal(factor)
    return Decimal(quantity)
