"""`xbar sweep` and `xbar pin` as users meet them."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from workloads.cli import main
from workloads.sweep import RESULTS

EDGE = Path(__file__).parents[2] / "hw/presets/edge.toml"


@pytest.fixture(autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("XBAR_DATA", raising=False)


def test_sweep_leaves_a_row_a_point_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "bits.toml", tmp_path / "out"
    file.write_text('[fixed]\nchip.name = "edge"\nstudy.images = 20\n[axes]\ncomponent.adc.bits = [6, 8]\ndevice.levels = [16, 3]\n')
    assert main(["sweep", str(file), "--out", str(out), "--workers", "1"]) == 0
    captured = capsys.readouterr()
    assert "4 points, 0 known before, 2 with an error" in captured.out
    assert "levels = 3 must be a power of two" in captured.err
    assert pd.read_parquet(out / RESULTS)["accuracy"].notna().tolist() == [True, False, True, False]
    assert main(["sweep", str(file), "--out", str(out), "--workers", "1"]) == 0
    assert "4 points, 4 known before" in capsys.readouterr().out


def test_pin_writes_checks_and_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(EDGE, tmp_path / "mine.toml")
    monkeypatch.chdir(tmp_path)
    assert main(["pin", "digits", "--chip", "mine.toml", "--set", "component.adc.bits=6", "--out", "pins/mine.json"]) == 0
    assert main(["pin", "--check", "pins/mine.json"]) == 0
    text = Path("mine.toml").read_text("utf-8")
    Path("mine.toml").write_text(text.replace("energy = { value = 1.54,", "energy = { value = 3.08,"), "utf-8")
    capsys.readouterr()
    assert main(["pin", "--check", "pins/mine.json"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "pins/mine.json: changed"
    assert [line.split()[0] for line in printed[2:]] == ["energy_adc_J"]
    assert printed[2].split()[3] == "2"
    assert main(["pin", "--accept", "pins/mine.json"]) == 0
    assert main(["pin", "--check", "pins/mine.json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "missing.toml", "--out", "x"], "missing.toml"),
        (["sweep", "bad.toml", "--out", "x"], "bad.toml: device.level = [4]: unknown name; did you mean device.levels"),
        (["sweep", "good.toml", "--out", "x", "--scheduler", "here"], "must be an address, as in tcp://host:8786"),
        (["pin", "--check", "missing.json"], "missing.json: no such file"),
        (["pin", "--out", "x.json"], "workload = (missing)"),
        (["pin", "digits", "--set", "device.levels=many", "--out", "x.json"], "device.levels = 'many': must be a whole number"),
    ],
)
def test_what_cannot_be_swept_or_pinned_is_said_in_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[axes]\ndevice.level = [4]\n")
    Path("good.toml").write_text("[axes]\ndevice.levels = [4]\n")
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("xbar: error: ")
    assert said in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "good.toml"]
