"""A study says beforehand what it will take, and leaves out what could say nothing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from xbar.hw.chip.files import load_chip
from xbar.reports.run_words import summary_text
from xbar.workloads.study.ahead import Timed, duration
from xbar.workloads.study.evaluate import OnChip
from xbar.workloads.study.run import Study, run
from xbar.workloads.workload import Workload, load_workload

ONE = (0.0,)
SMALL = Study(instances=2, requests=2, adc_bits=(8,), sigmas=ONE, stuck_rates=ONE, wire_resistances=ONE, images=10, parts=("yield",))


@pytest.fixture(scope="module")
def workload() -> Workload:
    """The digits network as it is shipped."""
    return load_workload("digits", 0)


def test_what_is_ahead_is_what_is_then_judged(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    scores = OnChip.scores

    def counted(on_chip: OnChip, seeds: Any, *given: Any) -> Iterator[dict[int, float]]:
        judged.extend(seeds)
        return scores(on_chip, seeds, *given)

    monkeypatch.setattr(OnChip, "scores", counted)
    steps: list[str] = []
    results = run(workload, load_chip("edge"), SMALL, step=steps.append)
    assert not results.yields.empty
    assert results.meta["study"]["left_out"] == []
    (ahead,) = (int(step.split(" ")[0]) for step in steps if step.partition(" ")[2].startswith("scores of a chip to come, "))
    of_digital = [step for step in steps if step.startswith("integers of")]
    assert ahead == len(judged) - 2 - 1 - len(of_digital)  # all but the chip as described and ideal, and accelerators in the end
    assert any("programming error" in step and "scores of a chip to come" in step for step in steps)


def test_no_yield_where_no_chip_is_good_as_described(workload: Workload) -> None:
    bad = load_chip("edge").with_changes(device={"programming_sigma": 1.5})
    results = run(workload, bad, replace(SMALL, images=40))
    assert results.yields.empty
    assert results.yield_points.empty
    (line,) = results.meta["study"]["left_out"]
    assert line.startswith("yield: no chip is good as described: the best of 2 has ")
    assert line in summary_text(results)


@pytest.mark.parametrize(
    ("seconds", "said"), [(20, "less than a minute"), (61, "about 1 minute"), (1200, "about 20 minutes"), (9000, "about 2.5 hours")]
)
def test_a_time_to_come(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_nothing_is_told_before_a_point_was_timed() -> None:
    timed = Timed()
    assert timed.told(10) == ""
    timed.seconds, timed.points = 240.0, 2
    assert timed.told(0) == ""
    assert timed.told(10) == "10 scores of a chip to come, 120 s each so far: about 20 minutes"
