"""Many chip instances: bands against known statistics; numbers that do not depend on how the work is cut."""

import math
from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xbar.hw import Chip, ParameterError, load_chip
from xbar.models import DigitsCNN
from xbar.workloads import task
from xbar.workloads.data import Dataset, load_digits
from xbar.workloads.study.evaluate import Condition, Evaluation, OnChip, evaluate, mean_band, wilson_band
from xbar.workloads.task import ROOT_MEAN_SQUARE_ERROR, KeptOutputsWarning, Metric, TaskError
from xbar.workloads.training import Recipe, initialise, score, train_network

MEDIAN_ERROR = Metric("median_error", "Median error", "units", "low", lambda outputs, targets: (outputs - targets).abs().median())


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits()


@pytest.fixture(scope="module")
def model(digits: Dataset) -> torch.nn.Module:
    """Trained for a moment: good enough that errors of cells cost something."""
    built = initialise(DigitsCNN, 0)
    train_network(built, digits, Recipe(epochs=4, batch=64, learning_rate=2e-2), 0)
    return built


@pytest.fixture(scope="module")
def noisy() -> Chip:
    return load_chip("edge", {"device.programming_sigma": "20", "device.read_noise_sigma": "10"})


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class TestBands:
    @given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
    def test_band_of_a_mean(self, values: list[float]) -> None:
        low, high = mean_band(values)
        if len(set(values)) == 1 or max(values) - min(values) < 1e-9:
            assert high - low < 1e-7
            return
        expected = stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected, abs=1e-9)

    def test_one_value_has_no_band(self) -> None:
        assert all(math.isnan(end) for end in mean_band([0.5]))

    @given(st.integers(1, 200), st.data())
    def test_wilson(self, trials: int, data: st.DataObject) -> None:
        """Its ends are where the score test just accepts: (share - p)² = z² p (1 - p) / n."""
        hits = data.draw(st.integers(0, trials))
        z = stats.norm.ppf(0.975)
        share = hits / trials
        for end in wilson_band(hits, trials):
            assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / trials, abs=1e-12)
        low, high = wilson_band(hits, trials)
        assert 0 <= low <= share <= high <= 1
        expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)

    @pytest.mark.parametrize(("hits", "trials"), [(0, 0), (3, 2), (-1, 2)])
    def test_wilson_of_nonsense(self, hits: int, trials: int) -> None:
        with pytest.raises(ParameterError, match="hits must be"):
            wilson_band(hits, trials)

    def test_confidence_is_a_share(self) -> None:
        with pytest.raises(ParameterError, match="confidence"):
            mean_band([0.1, 0.2], 1.0)

    def test_frame(self) -> None:
        values = [0.5, 0.6, 0.7, 0.8]
        table = pd.DataFrame({"instance": range(4), "seed": range(4), "score": values})
        row = Evaluation(table, 10).frame().iloc[0]
        assert row["mean"] == pytest.approx(0.65)
        assert row["median"] == pytest.approx(0.65)
        assert row["p5"] == pytest.approx(0.515)
        assert row["p95"] == pytest.approx(0.785)
        assert (row["mean_low"], row["mean_high"]) == pytest.approx(mean_band(values))
        assert (row["instances"], row["samples"], row["smallest"], row["largest"]) == (4, 10, 0.5, 0.8)


class TestEvaluate:
    @pytest.mark.usefixtures("_threads")
    def test_how_the_work_is_cut_changes_nothing(self, model: torch.nn.Module, digits: Dataset, noisy: Chip) -> None:
        """Memory for one instance or for all, batches of 7 or all images, one thread or two; read noise included."""
        told: list[tuple[int, int]] = []
        whole = evaluate(model, noisy, digits, 5, samples=60, seed=3, progress=lambda *x: told.append(x))
        assert told[-1] == (5, 5)
        assert whole.table["seed"].tolist() == [3, 4, 5, 6, 7]
        assert whole.table["score"].nunique() > 1
        for threads, memory, batch in ((1, 1, 60), (2, 2**20, 7), (1, 2**32, 13)):
            torch.set_num_threads(threads)
            cut = evaluate(model, noisy, digits, 5, samples=60, seed=3, memory=memory, batch=batch)
            pd.testing.assert_frame_equal(cut.table, whole.table)

    @pytest.mark.parametrize("correction", ["none", "compensated", "recalibrated"])
    def test_conditions_are_cut_alike(self, model: torch.nn.Module, digits: Dataset, correction: str) -> None:
        condition = Condition(seconds=1e5, correction=correction)  # type: ignore[arg-type]
        chip = load_chip("edge", device="pcm")
        tables = [
            evaluate(model, chip, digits, 3, samples=30, condition=condition, memory=memory).table for memory in (1, 2**30)
        ]
        pd.testing.assert_frame_equal(*tables)

    def test_an_instance_is_the_same_alone(self, model: torch.nn.Module, digits: Dataset, noisy: Chip) -> None:
        together = evaluate(model, noisy, digits, 4, samples=50).table["score"]
        alone = evaluate(model, noisy, digits, 1, samples=50, seed=3).table["score"]
        assert together[3] == alone[0]

    def test_a_judgement_leaves_no_trace(self, model: torch.nn.Module, digits: Dataset) -> None:
        """Ranges set anew for one condition are not those of the next."""
        on_chip = OnChip(model, load_chip("edge", device="pcm"), digits.train_inputs[:50])
        shown = digits.test_inputs[:60], digits.test_targets[:60]
        before = list(on_chip.scores([0, 1], *shown))
        list(on_chip.scores([0, 1], *shown, Condition(seconds=1e8, correction="recalibrated")))
        assert list(on_chip.scores([0, 1], *shown)) == before

    def test_instances_of_an_ideal_chip_are_one(self, model: torch.nn.Module, digits: Dataset, isaac: Chip) -> None:
        found = evaluate(model, isaac, digits, 50)
        assert found.samples == 360
        assert found.table["score"].nunique() == 1
        assert found.mean == pytest.approx(score(model, digits.test_inputs, digits.test_targets), abs=0.003)
        assert found.band == pytest.approx((found.mean, found.mean))
        assert found.spread == pytest.approx((found.mean, found.mean))

    @pytest.mark.parametrize(("change", "said"), [
        ({"instances": 0}, "at least one instance"), ({"samples": 0}, "one sample"), ({"memory": 0}, "memory and batch"),
        ({"batch": 0}, "memory and batch"), ({"seed": -1}, "from 0 on"),
        ({"condition": Condition(layers=("none",))}, "no analog layer is called none"),
    ])  # fmt: skip
    def test_nonsense(self, model: torch.nn.Module, digits: Dataset, noisy: Chip, change: dict, said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            evaluate(model, noisy, digits, **({"instances": 2, "samples": 5} | change))


@pytest.fixture(scope="module")
def wide() -> tuple[OnChip, torch.Tensor, torch.Tensor]:
    """Outputs that weigh more than the network: 300 samples of 1,500 values."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 4, generator=generator)
    model = initialise(lambda: torch.nn.Linear(4, 1500), 0).eval()
    return OnChip(model, load_chip("isaac"), x[:20]), x, torch.rand(300, 1500, generator=generator)


class TestWhatIsKept:
    """A mean over samples is counted batch by batch; only a metric that judges all samples at once has all outputs."""

    @pytest.mark.parametrize("metric", [ROOT_MEAN_SQUARE_ERROR, MEDIAN_ERROR], ids=lambda metric: metric.name)
    def test_as_of_all_outputs_together(self, wide: tuple[OnChip, torch.Tensor, torch.Tensor], metric: Metric) -> None:
        on_chip, x, y = wide
        whole = torch.cat([outputs[0] for *_, outputs in on_chip.outputs([0], x, Condition())])
        found = next(on_chip.scores([0], x, y, metric=metric))
        assert found[0] == metric(whole, y)

    def test_the_batch_does_not_shrink_with_the_samples(self, wide: tuple[OnChip, torch.Tensor, torch.Tensor]) -> None:
        on_chip, x, _ = wide
        on_chip.memory = 2**22  # all outputs of 3,000 samples are 18 MB
        x = x.repeat(10, 1)
        sizes = {kept: len(next(on_chip.outputs([0], x, Condition(), kept))[2][0]) for kept in (False, True)}
        assert sizes[True] == 1 < sizes[False]
        on_chip.memory = 2**30

    def test_large_outputs_are_told_and_too_large_ones_refused(
        self, wide: tuple[OnChip, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        on_chip, x, y = wide
        monkeypatch.setattr(task, "LARGE_OUTPUTS", 2**20)
        with pytest.warns(KeptOutputsWarning, match="metric median_error: judges all samples at once.* all 300 are kept, 0.0 GiB"):
            next(on_chip.scores([0], x, y, metric=MEDIAN_ERROR))
        monkeypatch.setattr(task, "_memory", lambda: 2.0**20)
        with pytest.raises(TaskError, match=r"this computer has 0\.0 GiB"):
            score(on_chip.model, x, y, MEDIAN_ERROR)
        next(on_chip.scores([0], x, y, metric=ROOT_MEAN_SQUARE_ERROR))
