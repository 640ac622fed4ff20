"""The page of a regression: true against predicted values, residuals and their numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from tests.reports.drawing import check_page, results_of, visible
from xbar.reports.predictions import predicted_values
from xbar.reports.results import Results


def predicted(samples: int, outputs: int, chips: int, off: float = 0.25) -> Results:
    """Float exact, the ideal chip off by `off`, of the chip the n-th instance by n times as much."""
    number = np.indices((samples, outputs)).reshape(2, -1)
    true = np.linspace(-1.0, 1.0, samples * outputs)
    kinds = [("float", 0, 0.0), ("ideal", 0, off), *(("chip", n, n * off) for n in range(chips))]
    table = pd.concat([
        pd.DataFrame({"of": of, "instance": instance, "sample": number[0], "output": number[1], "true": true, "predicted": true + wrong})
        for of, instance, wrong in kinds
    ])  # fmt: skip
    meta = {"workload": {"title": "A network"}, "chip": {"title": "A chip"}, "score": {"alike": chips == 1, "of": "rows"}}
    return results_of(meta, predictions=table)


@pytest.mark.parametrize(("samples", "outputs", "chips"), [(2, 1, 1), (40, 1, 3), (500, 4, 3)])
def test_values_and_residuals_are_drawn(samples: int, outputs: int, chips: int) -> None:
    figure = predicted_values(predicted(samples, outputs, chips))
    texts = visible(figure)
    check_page(texts)
    words = " ".join(text.get_text() for text, _ in texts)
    assert f"{samples} test rows" in words
    assert (f"{outputs} values each" in words) == (outputs > 1)
    assert ("chips are alike" in words) == (chips == 1)
    drawn: list[Any] = [np.asarray(axes.findobj(PathCollection)[0].get_offsets()) for axes in figure.axes]  # above, below, by column
    of_float, residual_of_ideal = drawn[0], drawn[3]
    assert of_float[:, 0] == pytest.approx(of_float[:, 1])
    assert residual_of_ideal[:, 1] == pytest.approx(np.full(samples * outputs, 0.25))
    assert len(drawn[4]) == chips * samples * outputs


def test_numbers_of_residuals_by_hand() -> None:
    """Three chips off by 0, 0.25 and 0.5: mean 0.25, root mean square √(0.3125 / 3)."""
    words = [text.get_text() for text, _ in visible(predicted_values(predicted(40, 1, 3)))]
    row = words[words.index("On chip, as described", words.index("In float", words.index("R²"))) :][1:8]
    assert row[:2] == ["0.323", "0.250"]
    assert row[5] == "0.500"
    scatter = np.linspace(-1, 1, 40).var()
    assert row[6] == f"{1 - 0.3125 / 3 / scatter:.4f}"


def test_one_value_for_all_samples_and_no_residual() -> None:
    results = predicted(5, 1, 1, off=0.0)
    results.predictions[["true", "predicted"]] = 2.0
    texts = visible(predicted_values(results))
    check_page(texts)
    assert "–" in [text.get_text() for text, _ in texts]  # no R² of what does not vary
