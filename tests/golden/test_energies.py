"""Golden numbers: what closed forms and published tables have justified elsewhere does not change unnoticed."""

from collections.abc import Callable

import pytest

from tests.golden.energies import FILE, LACKING, NETWORKS, measure, pinned, placed, present, served
from tests.hw.networks import presets_of_networks
from tests.hw.test_repetition import same
from xbar.hw import Arrivals, HardwareError, simulate
from xbar.hw.errors import ParameterError
from xbar.hw.events.fast import COMPILED
from xbar.workloads.study.pin import differences


@pytest.fixture(scope="module")
def accepted(accept: Callable[[str], None] | None) -> dict[tuple[str, str], dict[str, float]]:
    """The accepted values; with --accept the present ones, written to the file first."""
    if accept:
        table = present()
        table.to_csv(FILE, index=False)
        accept(f"{FILE.relative_to(FILE.parents[2])}: {len(table)} values accepted")
    return pinned()


def the_compiled_loop_gives_the_very_ledger(preset: str, network: str) -> None:
    """That of SimPy, wherever no buffer can run full; where one can, the loop is refused, and SimPy serves."""
    try:
        found = simulate(placed(preset, network), Arrivals.batch(1), engine="compiled")
    except ParameterError as error:
        if "can run full" not in str(error):
            raise
        return
    assert found.engine == COMPILED
    same(found, served(preset, network))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("preset", presets_of_networks())
def test_energy_latency_and_area_are_as_accepted(
    preset: str, network: str, accepted: dict[tuple[str, str], dict[str, float]]
) -> None:
    if (preset, network) in LACKING:
        with pytest.raises(HardwareError, match=LACKING[preset, network]):
            measure(preset, network)
        return
    the_compiled_loop_gives_the_very_ledger(preset, network)
    assert (preset, network) in accepted, "not pinned yet; accept with: make golden"
    changed = differences(accepted[preset, network], measure(preset, network))
    if changed:
        pytest.fail(
            f"{network} on {preset} changed; if intended, accept with `make golden` and say why:\n{changed}",
            pytrace=False,
        )


def test_a_change_is_shown_as_old_new_and_ratio() -> None:
    shown = differences(
        {"energy_adc_J": 2.0, "latency_s": 1.0, "gone": 1.0}, {"energy_adc_J": 3.0, "latency_s": 1.0, "new": 1.0}
    )
    lines = shown.splitlines()
    assert lines[0].split() == ["quantity", "old", "new", "ratio"]
    assert lines[1].split() == ["energy_adc_J", "2", "3", "1.5"]
    assert [line.split()[0] for line in lines[2:]] == ["gone", "new"]
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-12}) == ""
