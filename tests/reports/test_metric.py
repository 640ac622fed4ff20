"""Scores and differences for people."""

import math

import pytest

from xbar.reports.metric import ShownMetric

BITS = ShownMetric("bits", "Bits", "bit", "low")


@pytest.mark.parametrize(("shown", "value", "half", "text"), [
    (BITS, 0.26712, 0.05734, "0.267 ± 0.057"), (BITS, -0.000485, 0.00861, "−0.0005 ± 0.0086"), (BITS, 0.528, math.nan, "0.528"),
    (BITS, 12.34, 3.21, "12.3 ± 3.2"), (BITS, 1234.0, 321.0, "1234 ± 321"), (BITS, 0.2, 0.0, "0.200 ± 0"),
    (ShownMetric(), 0.0053, 0.0048, "0.53 ± 0.48"), (ShownMetric(), -0.0028, math.nan, "−0.28"),
])  # fmt: skip
def test_a_difference_has_the_decimals_of_its_band(shown: ShownMetric, value: float, half: float, text: str) -> None:
    assert shown.banded(value, half) == text
