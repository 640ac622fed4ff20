"""A measured chip's columns, cells and networks against the simulated chip. The chip's arrays are looked for in XBAR_DATA/neurram."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xbar.hw.analog import analog_layers
from xbar.hw.chip.files import load_chip
from xbar.workloads.data import DataError
from xbar.workloads.neurram import noise
from xbar.workloads.neurram.__main__ import measured_of
from xbar.workloads.neurram.folder import Folder
from xbar.workloads.neurram.mapping import bias_rows, chip_for, inputs_of, on_chip
from xbar.workloads.neurram.networks import KeywordLstm, Quantise, ResNet20, around
from xbar.workloads.neurram.predict import Judge, check

DATA = Path(os.environ.get("XBAR_DATA", "")) / "neurram"
measured = pytest.mark.skipif(not (DATA / "measured_columns.csv").is_file(), reason="no folder neurram/ of the chip's arrays in XBAR_DATA")


def judge(**given) -> Judge:
    """Ten instances of the preset."""
    return Judge(load_chip("neurram"), Folder(DATA), **given)


@measured
def test_all_printed_targets_are_met():
    printed = judge().printed()
    assert printed["targets"].sum() == 45
    assert printed["largest_difference_S"].max() < 1e-11  # 1e-5 µS


@measured
def test_the_columns_that_the_preset_was_fitted_on():
    """One number was fitted, on the mean residual; the others follow."""
    chip, found = measured_of(Folder(DATA), "C15"), judge(instances=20).run_c15().summary().mean()
    assert chip["residual"] == pytest.approx(0.1358, abs=1e-4)
    assert found["residual"] == pytest.approx(chip["residual"], rel=0.05)
    assert 100 * abs(found["gain_spread"] - chip["gain_spread"]) <= 0.5
    assert found["gain_correlation"] >= 0.9
    assert found["constant"] == pytest.approx(chip["constant"], rel=0.01)
    assert found["residual_load_correlation"] == pytest.approx(chip["residual_load_correlation"], abs=0.1)


@measured
def test_cells_alone_are_not_the_chip():
    """Without the stated error of cells in products the model leaves less than half of what the chip left."""
    chip = load_chip("neurram", {"component.crossbar.cell_error.sigma": "0"})
    found = Judge(chip, Folder(DATA), instances=5).run_c15().summary().mean()
    assert found["residual"] < 0.06
    assert found["gain_spread"] < 0.02


@measured
def test_a_network_lies_on_the_chip_as_on_the_real_one():
    """Bias rows, bits and ranges of every layer of the ResNet; on two images the chip's logits follow the software's."""
    folder, chip = Folder(DATA), load_chip("neurram")
    model = ResNet20(folder.arrays("cifar10_chip.npz", "all_val")).eval()
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = chip_for(chip, folder, "cifar10 first", inputs_of(model, images[:2]))
    converted = on_chip(model, own, images, model.input_ranges())
    layers = analog_layers(converted)
    assert list(layers) == [*(f"conv{k:02d}" for k in range(21)), "dense"]
    assert {name: layer.matrix.geometry.bias_rows for name, layer in layers.items()}["conv14"] == 5
    assert (layers["conv00"].matrix.high, layers["conv01"].matrix.high) == (15, 7)
    with torch.no_grad():
        exact, found = model(images), converted(images)
    assert float(torch.corrcoef(torch.stack([exact.flatten(), found.flatten()]))[0, 1]) > 0.8


@measured
def test_silence_is_what_software_says_on_the_mean():
    found = judge(instances=4).silence(sequences=100)
    assert len(found) == 48
    off = (found["mean"] - found["software"]).to_numpy()
    assert abs(off.mean()) < 0.1
    assert found["sd"].between(0.01, 1.5).all()


def test_padding_is_uneven_where_a_stride_asks_for_it():
    assert around(32, 3, 1) == (1, 1)
    assert around(32, 3, 2) == (0, 1)
    assert around(16, 1, 2) == (0, 0)


def test_values_are_rounded_half_up():
    quantise = Quantise(3, 7.0)
    assert quantise(torch.tensor([-1.0, 0.49, 0.5, 1.5, 2.5, 6.6, 9.0])).tolist() == [0, 0, 1, 2, 3, 7, 7]
    assert KeywordLstm.quantised(np.array([-2.0, -0.95, 0.07, 0.5]), 1.0).tolist() == [-0.875, -0.875, 0.125, 0.5]


@pytest.fixture
def folder(tmp_path) -> Folder:
    """A folder with a network of one layer and a map of cores."""
    np.savez(tmp_path / "cifar10_base.npz", **{"w0.10/dense/kernel": np.ones((2, 2)), "w0.00/dense/kernel": np.ones((2, 2))})
    pd.DataFrame({
        "table": ["mnist"] * 3, "layer": ["dense"] * 2 + ["conv0"], "segment": [0, 1, 0], "rows_used": [104, 104, 20],
        "cols_used": [10, 10, 8],
    }).to_csv(tmp_path / "core_map.csv", index=False)  # fmt: skip
    return Folder(tmp_path)


def test_bias_rows_are_those_beyond_the_weights(folder):
    assert bias_rows(folder, "mnist", "conv0", 9, 100) == 1
    assert bias_rows(folder, "mnist", "dense", 100, 50) == 2
    with pytest.raises(DataError, match="takes"):
        bias_rows(folder, "mnist", "dense", 512, 100)
    with pytest.raises(DataError, match="no layer"):
        bias_rows(folder, "mnist", "conv9", 9, 100)


def test_wrong_folders_are_named_errors(folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read as an archive"):
        folder.arrays("mnist_cnn.npz")
    (tmp_path / "mnist_cnn.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match=r"cannot be read as an archive"):
        folder.arrays("mnist_cnn.npz")
    np.savez(tmp_path / "kws_lstm.npz", fc_weight=np.array([np.nan]))
    with pytest.raises(DataError, match="finite"):
        folder.arrays("kws_lstm.npz")
    with pytest.raises(DataError, match=r"no network w0\.20; it has w0\.00, w0\.10"):
        folder.arrays("cifar10_base.npz", "w0.20")
    (tmp_path / "measured_columns.csv").write_text("run,layer\nC15,conv15\n", "utf-8")
    with pytest.raises(DataError, match="no column segment"):
        _ = folder.measured
    with pytest.raises(DataError, match="must sense voltages"):
        check(Judge(load_chip("edge"), folder))


def test_noise_is_drawn_as_a_share_of_the_largest_weight():
    model = torch.nn.Sequential(torch.nn.Linear(400, 300))
    clean = {name: value.clone() for name, value in model.state_dict().items()}
    noise.with_noise(model, clean, 0.1, torch.Generator().manual_seed(0))
    off = (model[0].weight - clean["0.weight"]).detach()
    assert float(off.std()) == pytest.approx(0.1 * float(clean["0.weight"].abs().max()), rel=0.02)
    noise.with_noise(model, clean, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(model[0].weight, clean["0.weight"])


def test_the_noise_table_compares_changes(folder, tmp_path):
    assert len(noise.wanted(folder, 3, 0.1)) == 1 + 3 * 3
    pd.DataFrame({
        "noise_training": [0.1, 0.1], "noise_inference": [0.0, 0.1], "authors_simulated": [0.88, 0.84],
    }).to_csv(tmp_path / "cifar10_noise_table.csv", index=False)  # fmt: skip
    journal = tmp_path / "draws.csv"
    journal.write_text("noise_training,noise_inference,draw,accuracy\n0.1,0.0,0,0.84\n0.1,0.1,0,0.79\n0.1,0.1,1,0.80\n", "utf-8")
    (row,) = noise.compared(folder, noise.read_journal(journal)).to_dict("records")
    assert row["change"] == pytest.approx(-0.045)
    assert row["authors_change"] == pytest.approx(-0.04)
    assert row["standard_error"] == pytest.approx(0.005)
    assert row["within"]
    journal.write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(DataError, match="must have the columns"):
        noise.read_journal(journal)
