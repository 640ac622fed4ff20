"""Pages of cell technologies: readable, with the numbers of the device, the same each time."""

import itertools
from pathlib import Path
from typing import get_args

import pytest

from tests.reports.drawing import overlap, visible
from xbar.hw import Device
from xbar.hw.cells.device import ProgrammingModel
from xbar.hw.chip.description import Source
from xbar.hw.chip.files import DeviceFile, device_names, load_device_file
from xbar.reports.devices import DeviceSheet, device_page, draw_devices
from xbar.reports.programming_error import WRITE_ERRORS, write_error
from xbar.reports.times import TIMES
from xbar.workloads.cli import main
from xbar.workloads.study.devices import device_sheet, device_table

CELLS = 300


def own(**changes: object) -> DeviceFile:
    """A device that no preset is like."""
    device = Device(**({"levels": 4, "g_min": 0.0, "g_max": 2e-3} | changes))  # type: ignore[arg-type]
    source = {"paper": Source(cite="A paper " * 60, read="as it stands")}
    return DeviceFile(name="own", title="Own", description="A device of one's own", source=source, device=device)


FILES = {name: load_device_file(name) for name in device_names()} | {
    "ideal": own(),
    "fine": own(programming_sigma=0.001, programming_model="independent", levels=256),
    "full": own(
        programming_sigma=0.2, programming_model="lognormal", device_to_device_sigma=0.1, stuck_on_rate=0.01,
        write_verify_tolerance=0.05, write_verify_most=5, telegraph_share=0.1, telegraph_amplitude=0.2,
        telegraph_dwell_time=1.0, reference_time=1.0, drift_exponent=0.05, read_noise_sigma=0.01, levels=2,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(FILES))
def sheet(request: pytest.FixtureRequest) -> DeviceSheet:
    return device_sheet(FILES[request.param], CELLS)


def test_no_text_overlaps_another_or_leaves_the_page(sheet: DeviceSheet) -> None:
    figure = device_page(sheet)
    texts = visible(figure)
    for text, box in texts:
        inside = box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert inside, f"off the page: {text.get_text()!r}"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        assert not overlap(one, a, other, b), f"{one.get_text()!r} over {other.get_text()!r}"


def test_every_model_of_write_errors_has_words() -> None:
    assert {*WRITE_ERRORS} == {*get_args(ProgrammingModel)}
    assert write_error("of tomorrow") == "of tomorrow, as the device's model has it"


def test_the_sheet_is_what_the_device_says(sheet: DeviceSheet) -> None:
    file = next(file for file in FILES.values() if device_sheet(file, 2).facts == sheet.facts)
    device = file.device
    assert sheet.written["target_S"].min() == pytest.approx(device.g_min)
    assert sheet.written["target_S"].max() == pytest.approx(device.g_max)
    assert len(sheet.written) == min(device.levels, 16) * CELLS
    assert sheet.drift["time_s"].agg(["min", "max"]).tolist() == pytest.approx([1.0, TIMES["10 years"]])
    assert len(sheet.table) == len(device.programming_table or ())
    assert bool(len(sheet.noise)) == device.has_read_noise


def test_the_same_sheets_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        draw_devices([device_sheet(FILES["pcm"], CELLS)], tmp_path / name)
    for file in ("pcm.png", "pcm.pdf"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_table_of_devices() -> None:
    """PCM at mid range: 0.26348 + 1.9650 / 2 - 1.1731 / 4 = 0.953 µS, and (1 year / 20 s)^-0.049 of it is left."""
    table = device_table([FILES["pcm"], FILES["hfox"]])
    assert table.loc["pcm", "write σ µS"] == "0.953"
    assert table.loc["pcm", "after a year"] == f"{100 * (365.25 * 86400 / 20 + 1) ** -0.049:.1f} %"
    assert table.loc["hfox", "after a year"] == "not given"


def test_the_command_lists_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in device_names():
        assert name in printed
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000
    assert main(["run", "digits", "--device", "pcn", "--out", str(tmp_path / "run")]) == 1
    assert "device = pcn: no such file, and no such preset" in capsys.readouterr().err
