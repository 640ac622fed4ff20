"""The committed results of compression: what the tables say follows from the small networks beside them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from xbar.compression import rebuild
from xbar.hw import load_chip, trace
from xbar.hw.footprint import footprint
from xbar.workloads.data import DataError, load_cifar10, load_mnist
from xbar.workloads.study.costs import weights_of
from xbar.workloads.training import score
from xbar.workloads.workload import untrained

FOLDERS = sorted((Path(__file__).parents[2] / "results" / "compression").glob("*/"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_weights_area_and_power_are_those_of_the_network_kept(folder: Path) -> None:
    meta = json.loads((folder / "compression.json").read_text("utf-8"))
    model, example = untrained(meta["workload"])
    small = rebuild(model, example, torch.load(folder / "weights.pt", weights_only=True))
    chip = load_chip(meta["chip"])
    assert weights_of(model) / weights_of(small) == pytest.approx(meta["compression"], rel=1e-3)
    for which, network, bits, input_bits in (
        ("before", model, chip.weights.bits, chip.inputs.bits),
        ("after", small, meta["bits_after"], meta["input_bits_after"]),
        ("pruned", small, chip.weights.bits, chip.inputs.bits),
    ):
        changed = chip.with_changes(weights={"bits": bits}, inputs={"bits": input_bits})
        taken = footprint(trace(network, example, pack=True), changed, meta["rate"])
        assert taken.power == pytest.approx(meta["footprints"][which]["power_W"], rel=1e-6)
        assert taken.area == pytest.approx(meta["footprints"][which]["area_m2"], rel=1e-6)
    stages = pd.read_csv(folder / "stages.csv", index_col="stage")
    assert stages.loc["final", "float"] == pytest.approx(meta["float_after"], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5-caffe-isaac", "resnet20-isaac"])
def test_accuracy_is_that_of_the_network_kept(name: str, shared_data: Path) -> None:
    folder = FOLDERS[0].parent / name
    meta = json.loads((folder / "compression.json").read_text("utf-8"))
    try:
        data = load_mnist(shared_data / "mnist") if meta["workload"].startswith("lenet") else load_cifar10(shared_data)
    except DataError as error:
        pytest.skip(str(error))
    model, _ = untrained(meta["workload"])
    small = rebuild(model, data.test_inputs[:2], torch.load(folder / "weights.pt", weights_only=True))
    assert score(small, data.test_inputs, data.test_targets) == pytest.approx(meta["float_after"], abs=2e-4)
