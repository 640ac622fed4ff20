"""When requests arrive, exactly; and what a simulation cannot take, named."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.hw.test_ledger_bounds import placed
from xbar.hw import Arrivals, ParameterError, Update, load_chip, serve_in_turns, simulate, simulate_chips


def test_even_arrivals_are_even_however_late() -> None:
    for rate, requests in ((1000 / 3, 5000), (70000.0, 1_000_000)):
        apart = np.unique(np.diff(Arrivals.at_rate(rate, requests).femtoseconds))
        assert apart.tolist() == [round(1e15 / rate)]
    assert Arrivals.at_rate(2e6, 3).times == (0.0, 5e-7, 1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Arrivals.at_rate(1e-300, 3), "beyond the 9223 s"),
        (lambda: Arrivals.at_rate("5", 3), "positive number per second, got '5'"),
        (lambda: Arrivals.at_rate(1e300, 3), "at most 1e[+]15 per second"), (lambda: Arrivals.trace(["a"]), "arrival times must be"),
        (lambda: Arrivals.poisson(1.0, 3, -1), "seed must be a whole number of 0 or more, got -1"),
        (lambda: simulate(placed(load_chip("generic")), [0.0]), "arrivals must be Arrivals, .* got list"),
        (lambda: simulate("chip", Arrivals.batch(1)), "placement must be of place; .* got str"),
        (lambda: simulate_chips("chip", Arrivals.batch(1)), "placement must be of place_chips, or place; got str"),
        (lambda: simulate_chips(placed(load_chip("generic")), Arrivals.batch(1), seed=-1), "seed must be"),
        (lambda: serve_in_turns(placed(load_chip("generic")), 2), "turns must be of place_chips; got Placement"),
        (lambda: serve_in_turns(placed(load_chip("generic")), 1.5), "a batch must be a whole number"),
        (lambda: simulate(placed(load_chip("generic")), Arrivals.batch(1), samples_held=True), "samples_held must be"),
    ],
)  # fmt: skip
def test_what_a_simulation_cannot_take_is_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    chip = placed(load_chip("generic"))
    found = [simulate(chip, Arrivals.batch(2), samples_held=held).latency.tolist() for held in (3, np.int64(3))]
    assert found[0] == found[1]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_updates_beyond_the_clock_are_refused_by_either_engine(engine: str) -> None:
    chip = placed(load_chip("edge", {"device.write_energy": "10e-12", "device.write_time": "1e-7"}))
    for update in (Update("0", 9224.0), Update("0", 0.0, pulses_per_cell=1e30)):
        with pytest.raises(ParameterError, match="beyond the 9223 s"):
            simulate(chip, Arrivals.batch(1), updates=[update], engine=engine)


def test_the_compiled_loop_is_not_quietly_replaced() -> None:
    chip = placed(load_chip("edge", {"device.write_energy": "10e-12", "device.write_time": "1e-7"}))
    late = [Update("0", 4612.0)]
    with pytest.raises(ParameterError, match="engine='compiled': times near the end"):
        simulate(chip, Arrivals.batch(1), updates=late, engine="compiled")
    assert simulate(chip, Arrivals.batch(1), updates=late).engine == "SimPy"
