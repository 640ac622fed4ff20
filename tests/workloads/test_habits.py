"""What is there is not written over unasked, what cannot be written is told first, what is not as asked is said."""

import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from xbar.workloads.cli import main
from xbar.workloads.commands import FewerImagesWarning, _images, _say_fewer_images
from xbar.workloads.study.sweep import SweepResult

ELSEWHERE = ["--weights", "/nonexistent"]  # what stops a command that has got beyond its folder
FINISHED = {
    "run.json": ["run", "digits", *ELSEWHERE], "compression.json": ["compress", "digits", "--target", "area=0.5", *ELSEWHERE],
    "fairea.json": ["run", "fairea", "--data", "/nonexistent"], "validation.json": ["validate", "--points", "/nonexistent"],
    "comparison.json": ["compare", "/nonexistent", "/nonexistent"],
}  # fmt: skip


@pytest.mark.parametrize("name", FINISHED)
def test_finished_results_need_replace(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("{}")
    command = [*FINISHED[name], "--out", str(tmp_path)]
    assert main(command) == 1
    assert f"{tmp_path} holds finished results of xbar" in capsys.readouterr().err
    assert main([*command, "--replace"]) == 1
    assert "nonexistent" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "{}"


def test_an_interrupted_run_goes_on_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run.json", "points.json"):
        (tmp_path / name).write_text("{}")
    assert main(["run", "digits", *ELSEWHERE, "--out", str(tmp_path)]) == 1
    assert "no such file of trained weights" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "page"), [("devices", "pcm.pdf"), ("chips", "isaac-converters.pdf")])
def test_pages_that_are_there_need_replace(command: str, page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / page).write_text("mine")
    assert main([command, "--out", str(tmp_path)]) == 1
    assert f"holds {page}; --replace writes over them" in capsys.readouterr().err
    assert (tmp_path / page).read_text() == "mine"


COMMANDS = {
    "run": ["run", "digits"], "compress": ["compress", "digits", "--target", "area=0.5"], "sweep": ["sweep", "x.toml"],
    "compare": ["compare", "a", "b"], "validate": ["validate"], "chips": ["chips"], "devices": ["devices"], "pin": ["pin", "digits"],
    "fit-device": ["fit-device", "writes.csv"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_told_first(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for out, said in ((tmp_path / "file" / "below" / "x.toml", f"{tmp_path / 'file'} is a file"), (Path("/proc/none/x.toml"), "in /proc")):
        assert main([*COMMANDS[command], "--out", str(out)]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["run", "digits", "--out", str(tmp_path / "out")]) == 1
    assert f"nothing can be written in {tmp_path}" in capsys.readouterr().err


def test_more_images_than_there_are_are_said() -> None:
    workload = SimpleNamespace(title="Digits CNN", data=SimpleNamespace(test_targets=range(360), samples="images"))
    with pytest.warns(FewerImagesWarning, match="--images 99999: Digits CNN has 360 test images here, and all of them are judged"):
        assert _images(99999, workload, 99999) == 360  # type: ignore[arg-type]
    assert _images(1000, workload, None) == 360  # type: ignore[arg-type]  # nobody asked
    assert _images(100, workload, 100) == 100  # type: ignore[arg-type]


def test_more_images_than_there_are_are_said_of_a_sweep(tmp_path: Path) -> None:
    pd.DataFrame({"study.images": [9999, 10], "images": [360, 10]}).to_parquet(tmp_path / "results.parquet")
    with pytest.warns(FewerImagesWarning, match="study.images = 9999: 1 points have fewer test samples, 360 of them at least"):
        _say_fewer_images(SweepResult(tmp_path / "results.parquet", 2, 0, 0))
