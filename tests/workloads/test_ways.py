"""Ways to get a network on a chip, and the command that tells them."""

from math import inf
from pathlib import Path

import pandas as pd
import pytest

from tests.hw.networks import small_convolutional
from xbar.hw import Arrivals, Chip, place, simulate, trace
from xbar.hw.chip.chips import place_chips
from xbar.hw.display import lasting
from xbar.hw.events.turns import serve_in_turns
from xbar.workloads.cli import main
from xbar.workloads.study.ways import COLUMNS, told, ways, with_writes

ONE = {"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1}


def test_a_network_that_fits_has_one_way(edge: Chip) -> None:
    network = trace(*small_convolutional())
    found = ways(network, edge, [4, 1])
    for row, batch in zip(found.to_dict("records"), (4, 1), strict=True):
        alone = simulate(place(network, edge), Arrivals.batch(batch))
        assert (row["way"], row["chips"], row["batch"], row["years_to_wear_out"]) == ("one chip", 1, batch, inf)
        assert row["energy_J"] == pytest.approx(alone.energy_per_request)
        assert row["latency_s"] == pytest.approx(alone.latency.mean())
        assert row["throughput"] == pytest.approx(alone.throughput)
        assert row["area_m2"] == edge.area
    assert "assumed" not in told(found, edge)


def test_one_that_does_not_is_told_on_several_chips_and_in_turns(edge: Chip) -> None:
    network, chip = trace(*small_convolutional()), edge.with_changes(structure=ONE)
    found = ways(network, chip, [1, 8])
    assert found["way"].to_list() == ["several chips"] * 2 + ["3 turns"] * 2
    assert found["chips"].to_list() == [3, 3, 1, 1]
    assert found["batch"].to_list() == [1, 8, 1, 8]
    assert list(found.columns) == list(COLUMNS)
    assert found["area_m2"].to_list() == pytest.approx([3 * chip.area] * 2 + [chip.area] * 2)
    turns = serve_in_turns(place_chips(network, with_writes(chip)), 8)
    assert found["energy_J"].iloc[3] == pytest.approx(turns.energy)
    assert found["years_to_wear_out"].iloc[3] == pytest.approx(turns.years_to_wear_out)
    text = told(found, chip)
    assert "does not state what writing costs; assumed:\n  device.write_energy 6.06e-13 J a pulse" in text
    assert "if worn evenly" in text


def test_the_command_prints_the_table_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [f"--set=structure.{name}={count}" for name, count in ONE.items()]
    words = ["place", "digits", "--chip", "edge", *small[:2], "--set=structure.crossbars_per_core=2", "--batch", "2"]
    assert main([*words, "--out", str(tmp_path / "ways.csv")]) == 0
    assert "digits on Edge" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "ways.csv")["batch"].to_list() == [2, 2]
    assert main([*words, "--out", str(tmp_path / "ways.csv")]) == 1
    assert "ways.csv is there already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["place", "digits", "--batch", "0"])


def test_lifetimes_are_told_in_units_of_their_size() -> None:
    year = 365.25 * 86400
    told_ = [lasting(seconds / year) for seconds in (0.5, 90, 7200, 3 * 86400, 2 * year, 3e7 * year, inf)]
    assert told_ == ["0.5 s", "1.5 minutes", "2 hours", "3 days", "2 years", "3.00e+07 years", "for ever"]
    assert lasting(float("nan")) == "unknown"
