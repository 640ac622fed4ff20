"""Compression from end to end on the small digits network, and the choice of what to keep."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from xbar.compression.gemm import matrix_layers
from xbar.compression.paths import Paths
from xbar.hw import Chip, load_chip, trace
from xbar.hw.errors import RangeWarning
from xbar.hw.footprint import footprint
from xbar.workloads import training
from xbar.workloads.cli import main
from xbar.workloads.data import Dataset, first_samples, without_held_out
from xbar.workloads.study import compress as module
from xbar.workloads.study.allocation import (
    AllocationError,
    Keep,
    Search,
    cost_aware,
    prune_once,
    uniform,
    whole,
)
from xbar.workloads.study.compress import CompressionResult, Work, chip_scores, compress
from xbar.workloads.study.costs import Costs, costs_before
from xbar.workloads.study.frontier import Frontier
from xbar.workloads.study.plan import PLANS, TRAININGS, Plan, quick, split, split_told, with_epochs, with_training
from xbar.workloads.task import ACCURACY, REGRESSION
from xbar.workloads.training import TrainingError, initialise, read_state, save_state, score
from xbar.workloads.workload import Workload, load_workload, untrained

TARGET = {"weights": 0.4, "power": 0.5}
SMALL = replace(quick(PLANS["digits"]), instances=2, images=100, budgets=(), method="admm")
TINY = replace(SMALL, rounds=2, filters=2, inputs=2, pruned=2, purified=1, levels=2, quantised=1, final=1, instances=1, images=20,
               bfloat16=True, updates=2)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Workload:
    return load_workload("digits")


@pytest.fixture(scope="module")
def compressed(
    digits: Workload, isaac: Chip, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CompressionResult, Path]:
    out = tmp_path_factory.mktemp("compressed")
    return compress(digits.model, digits.data, isaac, TARGET, out, SMALL), out


def search(digits: Workload, chip: Chip, target: dict[str, float]) -> Search:
    example = digits.calibration_inputs[:2]
    before = costs_before(digits.model, footprint(trace(digits.model, example), chip, 1000.0))
    parts = split(digits.data, 300, 0)
    costs = Costs(digits.model, chip, 1000.0, example)
    return Search(digits.model, costs, target, before, parts, PLANS["digits"].recipe(4), rounds=4, images=1437)


def test_meets_its_targets_and_keeps_most_of_the_accuracy(compressed: tuple[CompressionResult, Path]) -> None:
    found, _ = compressed
    first, last = found.stages.loc["uncompressed"], found.stages.loc["final"]
    assert last["weights"] <= 0.4 * first["weights"]
    assert last["power_W"] <= 0.5 * first["power_W"]
    assert last["float"] > 0.9
    assert found.stages.loc["quantised", "float"] > first["float"] - 0.03
    assert list(found.stages.index) == [stage for stage in module.STAGES if stage != "longer"]


def test_what_is_pruned_vanishes_from_the_placement(
    digits: Workload, compressed: tuple[CompressionResult, Path]
) -> None:
    found, _ = compressed
    taken = footprint(trace(found.model, digits.calibration_inputs[:2], pack=True), found.chip, SMALL.rate)
    assert taken.layers["outputs"].tolist() == found.layers["outputs_after"].tolist()
    assert (found.layers["outputs_after"] <= found.layers["outputs_before"]).all()
    assert (found.layers["inputs_after"] < found.layers["inputs_before"]).any()
    assert taken.power == pytest.approx(found.meta["footprints"]["after"]["power_W"])


def test_the_final_weights_are_on_the_levels_of_the_chip(compressed: tuple[CompressionResult, Path]) -> None:
    found, _ = compressed
    for layer in matrix_layers(found.model).values():
        steps = layer.weight.detach().double() * (2**7 - 1) / float(layer.weight.detach().abs().max())
        assert float((steps - steps.round()).abs().max()) < 1e-3


def test_pruning_alone_is_told_apart_from_fewer_bits(compressed: tuple[CompressionResult, Path]) -> None:
    prints = compressed[0].meta["footprints"]
    assert prints["after"]["power_W"] < prints["pruned"]["power_W"] < prints["before"]["power_W"]
    assert prints["after"]["power_W"] < prints["fewer_bits"]["power_W"] < prints["before"]["power_W"]
    assert (compressed[0].meta["bits_before"], compressed[0].meta["bits_after"]) == (16, 8)


def test_a_second_call_finds_everything_kept(
    digits: Workload, isaac: Chip, compressed: tuple[CompressionResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "_epoch", never)
    again = compress(digits.model, digits.data, isaac, TARGET, compressed[1], SMALL)
    pd.testing.assert_frame_equal(again.stages, compressed[0].stages)
    with pytest.raises(TrainingError, match="belongs to another compression"):
        compress(digits.model, digits.data, isaac, {"weights": 0.5}, compressed[1], SMALL)


def test_an_interrupted_compression_ends_in_the_same_weights(
    digits: Workload, isaac: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"power": 0.35, "weights": 0.3}
    whole_run = compress(digits.model, digits.data, isaac, target, tmp_path / "whole", TINY)
    assert len(whole_run.steps)
    assert set(whole_run.admm["stage"]) == {"filters", "inputs", "levels"}
    epoch, ran = training._epoch, []

    def interrupted(*arguments: object) -> float:
        ran.append(1)
        if len(ran) % 4 == 2:  # in the search, within ADMM and at its end, in each later stage
            raise KeyboardInterrupt
        return epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", interrupted)
    interrupts = 0
    while True:
        try:
            resumed = compress(digits.model, digits.data, isaac, target, tmp_path / "parts", TINY)
            break
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts >= 4
    for one, other in zip(whole_run.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    for table in ("stages", "steps", "admm"):
        pd.testing.assert_frame_equal(getattr(whole_run, table), getattr(resumed, table))


@pytest.mark.parametrize("changes", [
    {"method": "least-squares"},
    {"method": "magnitude", "learned": True, "distil": 0.5, "smoothing": 0.1, "input_bits": 6},
    {"method": "gradual", "allocation": "uniform", "average": 0.9},
])  # fmt: skip
def test_other_ways_meet_the_targets_too(
    changes: dict[str, object], digits: Workload, isaac: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(TINY, **changes)  # type: ignore[arg-type]
    epoch, ran = training._epoch, []

    def counted(*arguments: object) -> float:
        ran.append(1)
        return epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", counted)
    found = compress(digits.model, digits.data, isaac, {"weights": 0.5}, tmp_path, plan)
    assert found.stages.loc["final", "weights"] <= 0.5 * found.stages.loc["uncompressed", "weights"]
    searched = len(found.steps["round"].unique()) if len(found.steps) else 0
    assert len(ran) == searched + plan.epochs + plan.final  # control trains as long as final; what a method does not need retrains
    assert not len(found.admm)
    assert set(found.input_ranges) == (set(matrix_layers(found.model)) if plan.learned else set())
    assert len(list((tmp_path / "checkpoints").glob("teacher-*.npy"))) == (plan.views if plan.distil else 0)
    again = compress(digits.model, digits.data, isaac, {"weights": 0.5}, tmp_path, plan)
    assert again.input_ranges == found.input_ranges
    pd.testing.assert_frame_equal(again.stages, found.stages)
    if plan.method == "least-squares":  # an interrupt after solving, which took ten minutes more
        kept, minutes = tmp_path / "checkpoints", found.meta["processor_min"]["pruned"]
        solved = read_state(kept / "solved.pt")
        assert 0 < solved["processor_s"] < 60 * minutes
        save_state(solved | {"processor_s": solved["processor_s"] + 600}, kept / "solved.pt")
        (kept / "inputs.pt").unlink()
        again = compress(digits.model, digits.data, isaac, {"weights": 0.5}, tmp_path, plan)
        assert again.meta["processor_min"]["pruned"] == pytest.approx(minutes + 10, abs=0.3)


def test_learned_input_ranges_are_those_of_the_chip(digits: Workload, isaac: Chip) -> None:
    """A range of half the inputs' clips on the chip as well."""
    wide = chip_scores(digits.model, isaac, digits.calibration_inputs, *_few(digits), (), isaac.device, ACCURACY)
    narrow = {name: (0.0, 1e-3) for name in matrix_layers(digits.model)}
    with pytest.warns(RangeWarning):
        (found,) = chip_scores(digits.model, isaac, digits.calibration_inputs, *_few(digits), (), isaac.device, ACCURACY, narrow)
    assert found < wide[0]


def _few(workload: Workload) -> tuple[Tensor, Tensor]:
    return workload.data.test_inputs[:40], workload.data.test_targets[:40]


def test_data_that_hold_samples_out_are_split_by_index() -> None:
    x, y = torch.arange(20.0).view(20, 1), torch.arange(20) % 2
    data = Dataset("drawn", x, y, x, y, held_out=5)
    for seed in (0, 1):
        parts = split(data, 3, seed)
        assert parts.test_inputs.flatten().tolist() == [17, 18, 19]
        assert parts.train_inputs.flatten().tolist() == list(range(15))
        assert parts.held_out == 0
    assert split(data, 7, 0).train_inputs.flatten().tolist() == list(range(13))
    assert without_held_out(data).train_inputs.flatten().tolist() == list(range(15))
    assert first_samples(data, 18).held_out == 3
    assert "no network trained here" in split_told(data, 3)
    assert split_told(data, 7) == (
        "the last 7 of 20 training images by index: no network trained here, the uncompressed one included, learnt the last 5; the "
        "network as it came in may have learnt the other 2, and weights from elsewhere all"
    )
    assert "drawn by the seed" in split_told(replace(data, held_out=0), 7)


@pytest.mark.parametrize("epochs", [1, 5, 18, 100])
def test_epochs_are_shared_out(epochs: int) -> None:
    plan = PLANS["resnet20"]
    found = with_epochs(plan, epochs)
    assert found.epochs == epochs
    for name in ("filters", "inputs", "pruned", "purified", "levels", "quantised", "final"):
        assert abs(getattr(found, name) - getattr(plan, name) * epochs / plan.epochs) < 1


def test_options_of_training_are_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = with_training(Plan(), [("cutout", "8"), ("average", "0.99"), ("learned", "true")])
    assert (found.cutout, found.average, found.learned) == (8, 0.99, True)
    for option, said in (
        (("cut", "8"), "training has no 'cut'; known: smoothing, cutout"), (("cutout", "8.5"), "cutout must be a whole number"),
        (("learned", "yes"), "learned must be true or false"), (("average", "1.0"), "recipe.average must be"),
        (("small", "-1"), "recipe.small"), (("distil", "x"), "distil must be a number"),
    ):  # fmt: skip
        with pytest.raises(TrainingError, match=said):
            with_training(Plan(), [option])
    with pytest.raises(TrainingError, match=r"plan.method must be of admm, .*, least-squares, got graduel; did you mean gradual\?"):
        Plan(method="graduel")
    with pytest.raises(SystemExit):
        main(["compress", "digits", "--target", "area=0.5", "--out", str(tmp_path), "--method", "magnitud"])
    assert "did you mean magnitude?" in capsys.readouterr().err
    assert main(["compress", "digits", "--target", "area=0.5", "--out", str(tmp_path), "--training", "cutot=3"]) == 1
    assert "did you mean cutout?" in capsys.readouterr().err


def test_the_picture_of_methods_trains_all_alike(
    digits: Workload, isaac: Chip, compressed: tuple[CompressionResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, ran = training._epoch, []

    def counted(*arguments: object) -> float:
        ran.append(len(arguments[1].train_targets))  # type: ignore[attr-defined]
        return epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", counted)
    plan = replace(SMALL, budgets=(1.0,), frontier=(1, 2), frontier_images=500)
    found = compress(digits.model, digits.data, isaac, TARGET, compressed[1], plan).frontier
    assert found["method"].tolist() == ["cost-aware-least-squares", "cost-aware-magnitude", "cost-aware", "magnitude", "uniform"]
    assert found["reached"].all()
    assert ran == [500] * 15  # five methods of three epochs each; all the rest was kept
    methods, ran[:] = Frontier(Work(digits.model, digits.data, isaac, TARGET, compressed[1], plan, lambda _: None, "")), []
    for inputs in (20, None):  # no filters go, and nothing goes
        kept = whole(digits.model) | {"conv2": replace(whole(digits.model)["conv2"], inputs=inputs)}
        monkeypatch.setattr(methods, "_allocation_of", lambda *_, kept=kept: kept)
        methods._point("cost-aware", TARGET, 0)
    assert ran == [500] * 6
    for name, column in (("weights", "weights"), ("power", "power_W")):
        before = compressed[0].stages.loc["uncompressed", column]
        assert (found[column] <= 1.005 * TARGET[name] * before).all()
        assert (found[f"target_{name}"] == TARGET[name]).all()


def test_networks_too_large_for_chips_are_judged_in_float(
    digits: Workload, isaac: Chip, compressed: tuple[CompressionResult, Path]
) -> None:
    stages = compress(digits.model, digits.data, isaac, TARGET, compressed[1], replace(SMALL, most_on_chips=1000)).stages
    assert stages.loc["uncompressed", ["ideal", "varied_mean"]].isna().all()
    assert stages.loc["final", ["float", "ideal", "varied_mean"]].notna().all()
    assert stages.loc["uncompressed", "float"] == compressed[0].stages.loc["uncompressed", "float"]


def test_groups_lose_channels_with_what_feeds_them_and_the_output_is_known_by_what_it_feeds(isaac: Chip, digits: Workload) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 10)  # registered first, computed last
            self.first = nn.Conv2d(1, 16, 3, padding=1)
            self.apart = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.mixed = nn.Conv2d(16, 16, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.apart(torch.relu(self.first(x))))
            return self.head(torch.relu(self.mixed(x)).mean((2, 3)))

    model = initialise(Odd, 0).eval()
    example = digits.calibration_inputs[:2]
    before = costs_before(model, footprint(trace(model, example), isaac, 1000.0))
    parts = split(digits.data, 300, 0)
    costs = Costs(model, isaac, 1000.0, example)
    odd = Search(model, costs, {"power": 0.9}, before, parts, PLANS["digits"].recipe(1), rounds=2, images=200)
    state = cost_aware(odd).state
    assert state["head"].filters == 10
    assert state["first"].filters == state["apart"].filters == state["stream of first"].filters < 16
    assert uniform(odd).state["head"].filters == 10
    small = prune_once(model, state, example)
    assert (small.apart.groups, small.mixed.in_channels) == (state["apart"].filters,) * 2


@pytest.mark.parametrize("method", ["magnitude", "gradual", "least-squares"])
def test_what_would_change_nothing_is_refused(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match=r"plan.rho must be left out without method admm, .*got 0.5"):
        Plan(method=method, rho=0.5)
    assert Plan(method="admm", rho=0.5).rho == 0.5
    for option in (("temperature", "2"), ("views", "2")):
        with pytest.raises(TrainingError, match=rf"plan.{option[0]} must be left out without distil, .*got 2"):
            with_training(Plan(method=method), [option])
        assert with_training(Plan(), [("distil", "0.5"), option]).distil == 0.5
    with pytest.raises(TrainingError, match=r"recipe.temperature must be above 0 and finite, got inf"):
        with_training(Plan(), [("distil", "0.5"), ("temperature", "inf")])
    told = ["compress", "digits", "--target", "area=0.5", "--out", str(tmp_path), "--method", method, "--rho", "0.5"]
    assert main(told) == 1
    assert "plan.rho must be left out without method admm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"), [("updates", 0), ("bits", 0), ("sigma", -1.0), ("instances", 0), ("frontier", (2, 1)), ("pruned", -1)]
)
def test_plans_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(TrainingError, match=rf"plan.{field} must be .*, got"):
        replace(PLANS["digits"], **{field: value})  # type: ignore[arg-type]


def test_quick_is_never_longer() -> None:
    for plan in PLANS.values():
        assert quick(plan).epochs <= plan.epochs


def test_quick_takes_fewer_windows_of_text_than_images() -> None:
    plan = PLANS["gpt"]
    text, images = quick(plan, 128), quick(plan)
    assert (images.train_images, images.budgets) == (10_000, plan.budgets)
    assert (text.train_images, text.budgets) == (390, (1.0,))
    assert text.epochs == images.epochs
    assert quick(replace(plan, train_images=50, budgets=()), 128).budgets == ()
    assert quick(replace(plan, train_images=50), 10**6).train_images == 1


def test_a_plan_has_the_options_of_a_recipe() -> None:
    plan = Plan(batch=7, learning_rate=0.5, weight_decay=0.25, cutout=3, average=0.5, small=8, distil=0.5, views=2, products=True)
    assert repr(plan.recipe(2)) == (
        "Recipe(epochs=2, batch=7, learning_rate=0.5, weight_decay=0.25, shift=0, flip=False, bfloat16=False, cutout=3, average=0.5, "
        "views=2, products=True)"
    )
    assert plan.recipe(1, 0.1, pulled=True).settings().keys() == plan.recipe(1).settings().keys() - {"average"} | {"schedule"}
    everything = plan.recipe(1, small=True, taught=True)
    assert (everything.small, everything.distil) == (8, 0.5)
    with pytest.raises(TrainingError, match=r"recipe.smoothing must be 0 .*got 1.0"):
        Plan(smoothing=1.0)


def test_groups_of_little_norm_stay_where_targets_are_met(isaac: Chip, tmp_path: Path) -> None:
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    data = Dataset("drawn", x[:40], torch.arange(40) % 4, x[40:], torch.arange(20) % 4)
    net = initialise(lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), 0)
    with torch.no_grad():
        net[0].weight[6:] *= 1e-3
        net[2].weight[:, 6:] *= 1e-3
    none = dict.fromkeys(TRAININGS, 0)
    plan = Plan(rounds=1, batch=20, validation=10, instances=1, images=5, budgets=(), most_on_chips=0, method="magnitude",
                **none)  # type: ignore[arg-type]
    work = module.Work(net, data, isaac, {"weights": 1.0}, tmp_path, plan, lambda _: None, "")

    def threshold(target: dict[str, float], **changes: object) -> float:
        work.target, work.plan = target, replace(plan, **changes)  # type: ignore[arg-type]
        return work._threshold(work.model)

    assert threshold({"weights": 0.6}) == 0.1  # the least that meets the target
    assert threshold({"weights": 0.01}) == 0  # none does
    assert threshold({"weights": 1.0}, purify=True, most_lost=1.0) > 0.1  # the largest that validation allows
    assert threshold({"area": 1.0}, purify=True, most_lost=1.0) == 0  # no array is freed
    work.target, work.plan = {"weights": 1.0}, plan
    stages = work.result().stages
    assert stages.loc["purified", "weights"] == 120
    assert stages.loc["quantised", "weights"] == 60  # all of a group rounds to 0


def test_the_allocation_spares_what_costs(digits: Workload, isaac: Chip) -> None:
    chosen = cost_aware(search(digits, isaac, {"power": 0.7}))
    state, steps = chosen.state, chosen.steps
    everything = whole(digits.model)
    assert state["fc"].filters == everything["fc"].filters  # the network's outputs
    assert steps["power"].is_monotonic_decreasing
    by_round = steps.groupby("round")["power"].last()
    assert by_round.iloc[-1] <= 0.7 < by_round.iloc[-2]
    alike = uniform(search(digits, isaac, {"power": 0.7})).state
    shares = {alike[name].filters / everything[name].filters for name in ("conv1", "conv2")}
    assert max(shares) - min(shares) <= 0.1


@pytest.mark.parametrize(("workload", "preset"), [("lenet5-caffe", "isaac"), ("resnet20", "edge")])
def test_costs_of_sizes_are_those_of_the_whole_network(workload: str, preset: str) -> None:
    model, example = untrained(workload)
    if workload == "resnet20":
        model.left, example = 4, example[..., :16, :16]  # a quarter of the vectors for the simulator; every layer is as large
    chip = load_chip(preset)
    costs = Costs(model, chip, 1000.0, example)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        kept = {name: Keep(int(torch.randint(len(layer.weight) // 3, len(layer.weight), (1,), generator=generator)),
                           int(torch.randint(layer.weight[0].numel() // 3, layer.weight[0].numel(), (1,), generator=generator)))
                for name, layer in list(matrix_layers(model).items())[:-1]}  # fmt: skip
        network = trace(prune_once(model, kept, example), example, pack=True)
        taken = footprint(network, chip, 1000.0)
        found = costs.of_sizes({layer.name: (layer.outputs, layer.inputs) for layer in network.layers})
        assert found["area"] == pytest.approx(taken.area, rel=1e-9)
        assert found["weights"] == sum(layer.weights for layer in network.layers)
        assert found["power"] == pytest.approx(taken.power, rel=0.04)


def test_what_filters_that_stay_reach_is_followed_through_sums() -> None:
    model, example = untrained("resnet20")
    paths = Paths(model, example)
    left = {name: torch.ones(len(layer.weight), dtype=torch.bool) for name, layer in matrix_layers(model).items()}
    left["layer1.0.conv1"][5] = False  # feeds one layer alone
    reached = paths.reached(left)
    assert (~reached["layer1.0.conv2"]).nonzero().tolist() == [[5]]
    writers = [name for name in left if name == "conv1" or name.endswith("conv2")]
    for name in writers[:-1]:  # shortcuts of option A move channel 5 on to 13 of 32 and 29 of 64
        left[name][{16: 5, 32: 13, 64: 29}[len(left[name])]] = False
    assert all(bool(found.all()) for name, found in paths.reached(left).items() if name != "layer1.0.conv2")
    left[writers[-1]][29] = False
    reached = paths.reached(left)
    assert not bool(reached["layer1.1.conv1"][5])
    assert int(reached["linear"].sum()) == 63


def test_targets_that_cannot_be_are_refused(digits: Workload, isaac: Chip, tmp_path: Path) -> None:
    for target, message in (
        ({}, "needs a target"),
        ({"speed": 0.5}, "unknown target 'speed'"),
        ({"area": 0.0}, "above 0"),
    ):
        with pytest.raises(AllocationError, match=message):
            compress(digits.model, digits.data, isaac, target, tmp_path, Plan())
    with pytest.raises(AllocationError, match="out of reach"):
        cost_aware(search(digits, isaac, {"area": 0.1}))  # three arrays, one a layer
    with pytest.raises(TrainingError, match="validation images must be 1 to"):
        split(digits.data, 10**6, 0)


def test_what_the_network_cannot_do_is_told_before_the_search(digits: Workload, isaac: Chip, tmp_path: Path) -> None:
    x = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    line = Dataset("line", x, x.sum(1), x, x.sum(1), REGRESSION)
    for model, data, changes, said in (
        (digits.model, digits.data, {"small": 4}, "recipe.small = 4: the network does not take images of so many pixels"),
        (nn.Linear(4, 1), line, {"distil": 0.5, "validation": 8}, "recipe.smoothing and distil are of classes; line, .* is for regression"),
    ):
        told: list[str] = []
        with pytest.raises(TrainingError, match=said):
            compress(model, data, isaac, {"weights": 0.5}, tmp_path, replace(TINY, **changes), told.append)  # type: ignore[arg-type]
        assert not told
    assert not list(tmp_path.iterdir())


def test_validation_images_are_of_training_and_not_trained_on(digits: Workload) -> None:
    parts = split(digits.data, 300, 0)

    def rows(images: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert len(parts.test_targets) == 300
    assert len(parts.train_targets) == len(digits.data.train_targets) - 300
    assert rows(parts.test_inputs) <= rows(digits.data.train_inputs)
    assert len(rows(parts.test_inputs) & rows(digits.data.test_inputs)) <= 1  # twins in the data itself


def test_an_ideal_chip_of_many_bits_computes_as_float(digits: Workload, isaac: Chip) -> None:
    images, labels = digits.data.test_inputs[:100], digits.data.test_targets[:100]
    (found,) = chip_scores(digits.model, isaac, digits.calibration_inputs, images, labels, (), isaac.device, ACCURACY)
    assert found == pytest.approx(score(digits.model, images, labels), abs=0.011)


def test_the_model_that_came_in_is_left_alone(digits: Workload, isaac: Chip) -> None:
    before = {name: value.clone() for name, value in digits.model.state_dict().items()}
    model: nn.Module = prune_once(digits.model, {"conv1": Keep(2)}, digits.calibration_inputs[:2])
    assert matrix_layers(model)["conv1"].weight.shape[0] == 2
    assert all(torch.equal(before[name], value) for name, value in digits.model.state_dict().items())


def test_checkpoints_are_json_and_states(compressed: tuple[CompressionResult, Path]) -> None:
    kept = compressed[1] / "checkpoints"
    assert {path.name for path in kept.glob("*.checkpoint")} == set()
    assert "allocation" in json.loads((kept / "allocation.json").read_text("utf-8"))["found"]


def test_the_command_refuses_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "digits", "--target", "speed=0.1", "--out", str(tmp_path)]) == 1
    assert "unknown target 'speed'; known: area, power, weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compress", "digits", "--target", "area=small", "--out", str(tmp_path)])


def test_the_command_draws_a_saved_one_again(
    compressed: tuple[CompressionResult, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compressed[0]
    replace(found, meta=found.meta | {"workload": "digits", "title": "Digits CNN"}).save(tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    assert "Digits CNN compressed for" in capsys.readouterr().out
    assert (tmp_path / "compression.pdf").stat().st_size > 10_000
