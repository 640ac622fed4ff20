"""The cell: every law against its closed form, and the device presets against their sources."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from xbar.hw import ConfigurationError, Device, ParameterError, load_chip
from xbar.hw.cells.programmed import Programmed
from xbar.hw.cells.table import TABLE_FOLDER, read_table
from xbar.hw.chip.files import device_names, load_device, load_device_file
from xbar.hw.quantity import KINDS, UNITS

CELLS = 200_000
YEAR = 365 * 86400.0


def device(**changes: object) -> Device:
    return Device(**({"levels": 16, "g_min": 1e-6, "g_max": 21e-6} | changes))  # type: ignore[arg-type]


def test_levels_span_the_range_evenly() -> None:
    d = device()
    levels = d.conductance(torch.arange(16, dtype=torch.float64), bits=4)
    assert levels[0] == pytest.approx(1e-6)
    assert levels[-1] == pytest.approx(21e-6)
    assert torch.diff(levels).numpy() == pytest.approx(20e-6 / 15)
    assert d.level_step(bits=2) == pytest.approx(20e-6 / 3)


@pytest.mark.parametrize("target", [5e-6, 20e-6])
@pytest.mark.parametrize(
    ("model", "spread"),
    [
        ("independent", lambda g: 0.02 * 20e-6),
        ("proportional", lambda g: 0.02 * g),
        ("lognormal", lambda g: g * (torch.tensor(0.02**2).exp().item() - 1) ** 0.5),
    ],
)
def test_programming_error(target: float, model: str, spread, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    """Mean and standard deviation within 5 standard errors of the model's."""
    d = device(programming_model=model, programming_sigma=0.02)
    written = d.program(torch.full((CELLS,), target, dtype=torch.float64), generator)
    sigma = spread(target)
    assert abs(written.conductance.mean() - target) < 5 * sigma / CELLS**0.5
    assert written.conductance.std() == pytest.approx(sigma, rel=5 / (2 * CELLS) ** 0.5)
    assert written.truncated_share == 0


def test_truncation_at_zero_is_counted(generator: torch.Generator) -> None:
    """A target of 1 uS with 1 uS of error falls below zero with the normal probability of -1 sigma."""
    d = device(programming_model="independent", programming_sigma=0.05)
    written = d.program(torch.full((CELLS,), 1e-6, dtype=torch.float64), generator)
    assert written.truncated_share == pytest.approx(0.158655, abs=5 * (0.1587 * 0.8413 / CELLS) ** 0.5)
    assert written.conductance.min() == 0


def test_stuck_cells(generator: torch.Generator) -> None:
    d = device(stuck_on_rate=0.03, stuck_off_rate=0.07)
    written = d.program(torch.full((CELLS,), 9e-6, dtype=torch.float64), generator)
    error = 5 * (0.1 * 0.9 / CELLS) ** 0.5
    assert (written.conductance == d.g_max).double().mean() == pytest.approx(0.03, abs=error)
    assert (written.conductance == d.g_min).double().mean() == pytest.approx(0.07, abs=error)
    assert written.stuck_share == pytest.approx(0.10, abs=error)


def test_same_seed_same_cells() -> None:
    d = device(programming_sigma=0.1, stuck_on_rate=0.01)
    target = torch.linspace(1e-6, 21e-6, 1000, dtype=torch.float64)
    one, other, third = (d.program(target, torch.Generator().manual_seed(s)).conductance for s in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def full(target: float, cells: int = CELLS) -> torch.Tensor:
    return torch.full((cells,), target, dtype=torch.float64)


def phi(x: float) -> float:
    """Standard normal distribution function."""
    return (1 + math.erf(x / math.sqrt(2))) / 2


def test_the_order_of_draws_is_kept() -> None:
    """One generator: a normal per cell for the write, then a uniform per cell for what is stuck."""
    d = device(programming_sigma=0.1, stuck_on_rate=0.05, stuck_off_rate=0.02)
    target, other = torch.linspace(1e-6, 21e-6, 1000, dtype=torch.float64), seeded()
    expected = target * (1 + 0.1 * torch.randn(target.shape, generator=other, dtype=torch.float64))
    uniform = torch.rand(target.shape, generator=other, dtype=torch.float64)
    expected = torch.where(uniform < 0.05, d.g_max, torch.where(uniform >= 0.98, d.g_min, expected))
    assert torch.equal(d.program(target, seeded()).conductance, expected)


class TestWriting:
    def test_polynomial_sigma(self, generator: torch.Generator) -> None:
        """sigma = 0.2 + 1.0 g - 0.5 g² + 0.1 g³ µS with g = G / g_max; where that is below 0 S it is 0 S."""
        terms = {f"programming_s{k}": v * 1e-6 for k, v in enumerate((0.2, 1.0, -0.5, 0.1))}
        d = device(programming_model="polynomial", **terms)
        for g in (0.2, 0.6, 1.0):
            sigma = (0.2 + g - 0.5 * g**2 + 0.1 * g**3) * 1e-6
            target = full(g * d.g_max)
            assert d.write_sigma(target)[0] == pytest.approx(sigma)
            assert d.program(target, generator).conductance.std() == pytest.approx(sigma, rel=5 / (2 * CELLS) ** 0.5)
        falling = device(programming_model="polynomial", programming_s0=1e-6, programming_s1=-2e-6)
        assert falling.write_sigma(full(21e-6, 1)) == 0

    def test_table_sigma(self, generator: torch.Generator) -> None:
        d = device(programming_model="table", programming_table=[(0, 0), (11e-6, 1e-6), (21e-6, 0.5e-6)])
        target = torch.tensor([0, 1.1e-6, 11e-6, 16e-6, 21e-6], dtype=torch.float64)
        assert d.write_sigma(target).numpy() == pytest.approx([0, 0.1e-6, 1e-6, 0.75e-6, 0.5e-6])
        written = d.program(full(16e-6), generator).conductance
        assert written.std() == pytest.approx(0.75e-6, rel=5 / (2 * CELLS) ** 0.5)
        assert d.write_sigma(torch.tensor([21e-6])).item() == pytest.approx(0.5e-6)  # float32 rounds the end up
        with pytest.raises(ParameterError, match=r"1 of 2 targets are outside programming_table.*2.2e-05"):
            d.program(torch.tensor([5e-6, 22e-6], dtype=torch.float64), generator)

    def test_a_sigma_in_place_of_the_devices_own_error(self) -> None:
        assert device(programming_model="lognormal", programming_sigma=0.3).with_programming_sigma(0.1) == device(
            programming_model="lognormal", programming_sigma=0.1
        )
        for name in ("pcm", "hfox"):
            swept = load_device(name).with_programming_sigma(0.1)
            assert swept.write_sigma(full(5e-6, 1)).item() == pytest.approx(0.1 * (swept.g_max - swept.g_min))
            assert swept.drifts == load_device(name).drifts
        with pytest.raises(ValidationError, match="programming_sigma"):
            device().with_programming_sigma(-0.1)

    @pytest.mark.parametrize("relaxation", [
        {"relaxation_sigma": 0.1}, {"relaxation_table": ((0.0, 1e-6), (21e-6, 2e-6))},
    ])  # fmt: skip
    def test_a_sigma_in_place_is_all_that_writes_err_by(self, generator: torch.Generator, relaxation: dict[str, object]) -> None:
        """Neither verified nor relaxed: of 20 % the spread is 20 % of the range, of 0 there is none."""
        verified = device(
            programming_model="independent", programming_sigma=0.05, write_verify_tolerance=0.02, write_verify_most=20,
            write_verify_floor=2e-6, **relaxation,
        )  # fmt: skip
        written = verified.with_programming_sigma(0.02).program(full(11e-6), generator)
        assert written.conductance.std() == pytest.approx(0.02 * (21e-6 - verified.g_min), rel=5 / (2 * CELLS) ** 0.5)
        assert written.pulses_per_cell == 1
        exact = verified.with_programming_sigma(0.0).program(full(11e-6), generator)
        assert bool((exact.conductance == 11e-6).all())

    def test_limits_are_counted_of_draws_before_they_relax(self, generator: torch.Generator) -> None:
        """None of exact writes at an end of the range, whatever they relax by; half of those with an error."""
        for sigma, share in ((0.0, 0.0), (0.1, 0.5)):
            relaxing = device(
                limit_to_range=True, relaxation_sigma=0.05, programming_model="independent", programming_sigma=sigma, g_min=0.0
            )
            top, bottom = (relaxing.program(full(target), generator) for target in (21e-6, 0.0))
            spread = 5 * (share * (1 - share) / CELLS) ** 0.5
            assert top.clipped_share == pytest.approx(share, abs=spread)
            assert bottom.clipped_share == pytest.approx(share, abs=spread)
            assert bottom.truncated_share == pytest.approx(share, abs=spread)
            assert top.conductance.std() > 0, "they relaxed"

    def test_limits_are_counted(self, generator: torch.Generator) -> None:
        """With 10 % of the range as sigma, a target half a sigma below g_max is clipped in 31 % of the writes."""
        changes = {"programming_model": "independent", "programming_sigma": 0.1}
        written = device(limit_to_range=True, **changes).program(full(20e-6), generator)
        share = 1 - phi(0.5)
        assert written.clipped_share == pytest.approx(share, abs=5 * (share * (1 - share) / CELLS) ** 0.5)
        assert written.conductance.max() == 21e-6
        assert written.truncated_share == 0
        free = device(**changes).program(full(20e-6), generator)
        assert free.clipped_share == 0
        assert free.conductance.max() > 21e-6

    def test_device_to_device_error_is_fixed_and_cycle_to_cycle_is_not(self) -> None:
        d = device(programming_sigma=0.02, device_to_device_sigma=0.1)
        target = full(10e-6)
        one, other = (d.program(target, seeded(write), seeded(7)).conductance for write in (1, 2))
        moved = d.program(target / 2, seeded(3), seeded(7)).conductance * 2
        third = d.program(target, seeded(4), seeded(8)).conductance
        total, rest = 0.01 + 0.0004 + 0.01 * 0.0004, 0.01
        for again in (other, moved):
            correlation = torch.corrcoef(torch.stack([one, again]))[0, 1]
            assert correlation == pytest.approx(rest / total, abs=5 * (1 - (rest / total) ** 2) / CELLS**0.5)
        assert not torch.equal(one, other)
        assert abs(torch.corrcoef(torch.stack([one, third]))[0, 1]) < 5 / CELLS**0.5
        assert one.std() == pytest.approx(total**0.5 * 10e-6, rel=5 / (2 * CELLS) ** 0.5)

    def test_stuck_cells_are_fixed_for_an_instance(self) -> None:
        d = device(programming_sigma=0.02, stuck_on_rate=0.1, stuck_off_rate=0.1)
        one, other = (d.program(full(10e-6), seeded(write), seeded(7)) for write in (1, 2))
        assert one.stuck is not None
        assert other.stuck is not None
        assert torch.equal(one.stuck, other.stuck)

    def test_a_given_map_of_stuck_cells(self, generator: torch.Generator) -> None:
        given = torch.tensor([[0, 1], [-1, 0]], dtype=torch.int8)
        written = device(stuck_on_rate=0.5).program(torch.full((2, 2), 9e-6), generator, stuck=given)
        assert written.conductance.flatten().tolist() == pytest.approx([9e-6, 21e-6, 1e-6, 9e-6])
        assert written.stuck_share == 0.5
        for wrong in (given[0], given * 2):
            with pytest.raises(ParameterError, match="stuck must be -1, 0 or"):
                device().program(torch.full((2, 2), 9e-6), generator, stuck=wrong)

    @pytest.mark.parametrize("wrong", [torch.tensor([1e-6, math.nan]), torch.tensor([1, 2])])
    def test_wrong_targets(self, wrong: torch.Tensor, generator: torch.Generator) -> None:
        with pytest.raises(ParameterError, match="target must be f"):
            device().program(wrong, generator)

    def test_gradients_reach_the_target(self) -> None:
        """d G / d target: 1 for an added error, the drawn factor for a proportional one, 0 where stuck."""
        target = full(10e-6, 4).requires_grad_()
        stuck = torch.tensor([0, 0, 0, 1])
        d = device(programming_sigma=0.1, device_to_device_sigma=0.1, write_verify_tolerance=0.02, write_verify_most=9)
        written = d.program(target, seeded(), stuck=stuck)
        written.conductance.sum().backward()
        assert target.grad is not None
        assert target.grad.numpy()[:3] == pytest.approx((written.conductance / target).detach().numpy()[:3])
        assert target.grad[3] == 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_any_shape_and_precision(self, dtype: torch.dtype) -> None:
        d = load_device("pcm")
        for shape in ((), (0,), (2, 3, 4)):
            target = torch.full(shape, 10e-6, dtype=dtype)
            written = d.program(target, seeded())
            later = d.conductance_at(written, 3600.0)
            variance = d.read_variance(later, written.conductance, 3600.0)
            assert {t.shape for t in (written.conductance, later, variance)} == {target.shape}
            assert {t.dtype for t in (written.conductance, later, variance)} == {dtype}


class TestWriteVerify:
    SIGMA, TOLERANCE = 0.05, 0.03  # of the range; far from 0 S, so nothing is truncated

    def written(self, most: int) -> Programmed:
        d = device(
            g_min=100e-6, g_max=200e-6, programming_model="independent", programming_sigma=self.SIGMA,
            write_verify_tolerance=self.TOLERANCE, write_verify_most=most,
        )  # fmt: skip
        return d.program(full(150e-6), seeded())

    @pytest.mark.parametrize("most", [1, 2, 5, 20])
    def test_pulses_and_what_is_left_over(self, most: int) -> None:
        """A pulse is accepted with p = erf(tolerance / (sigma sqrt 2)); pulses per cell are geometric, cut at most."""
        p = math.erf(self.TOLERANCE / self.SIGMA / math.sqrt(2))
        left = (1 - p) ** most
        written = self.written(most)
        assert written.unconverged_share == pytest.approx(left, abs=5 * (left * (1 - left) / CELLS) ** 0.5)
        spread = ((1 - p) / p**2) ** 0.5
        assert written.pulses_per_cell == pytest.approx((1 - left) / p, abs=5 * spread / CELLS**0.5)
        assert written.pulses == pytest.approx(written.pulses_per_cell * CELLS)

    def test_residual_is_a_truncated_normal(self) -> None:
        """Variance of a normal cut at +-a sigma: sigma² (1 - 2 a phi(a) / p)."""
        written, a = self.written(60), self.TOLERANCE / self.SIGMA
        density = math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
        sigma = self.SIGMA * 100e-6 * math.sqrt(1 - 2 * a * density / math.erf(a / math.sqrt(2)))
        assert written.unconverged_share == 0
        assert written.residual == pytest.approx(sigma, rel=5 / (2 * CELLS) ** 0.5)
        assert (written.conductance - 150e-6).abs().max() <= self.TOLERANCE * 100e-6

    def test_without_error_one_pulse_is_enough(self, generator: torch.Generator) -> None:
        d = device(write_verify_tolerance=0.01, write_verify_most=5)
        written = d.program(full(10e-6, 10), generator)
        assert (written.pulses, written.unconverged_share, written.residual) == (10, 0, 0)

    def test_stuck_cells_are_pulsed_in_vain(self, generator: torch.Generator) -> None:
        d = device(write_verify_tolerance=0.01, write_verify_most=5)
        stuck = torch.tensor([1] + [0] * 9)
        written = d.program(full(10e-6, 10), generator, stuck=stuck)
        assert (written.pulses, written.unconverged_share, written.residual) == (14, 0.1, 0)


class TestTime:
    def test_drift_follows_the_power_law(self) -> None:
        d = device(reference_time=10.0, drift_exponent=0.05)
        written = d.program(full(10e-6, 3), seeded())
        for time in (0.0, 1.0, 3600.0, 10 * YEAR):
            expected = 10e-6 * ((time + 10) / 10) ** -0.05
            assert d.conductance_at(written, time).numpy() == pytest.approx(expected)
        assert torch.equal(d.conductance_at(written, 0.0), written.conductance)

    def test_exponents_are_a_folded_normal_by_level(self) -> None:
        """nu = |N(mean, sigma)|, both a ln g + b within limits; mean and spread of a folded normal."""
        d = device(
            reference_time=1.0, drift_exponent=0.01, drift_exponent_slope=-0.02, drift_exponent_low=0.02,
            drift_exponent_high=0.05, drift_exponent_sigma=0.03, drift_exponent_sigma_slope=-0.01,
            drift_exponent_sigma_low=0.0, drift_exponent_sigma_high=0.04,
        )  # fmt: skip
        for g, mean, sigma in ((1.0, 0.02, 0.03), (0.3, 0.01 - 0.02 * math.log(0.3), 0.04), (0.05, 0.05, 0.04)):
            exponent = d.program(full(g * d.g_max), seeded()).drift_exponent
            assert exponent is not None
            folded = sigma * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * sigma**2))
            folded += mean * (1 - 2 * phi(-mean / sigma))
            assert exponent.mean() == pytest.approx(folded, abs=5 * sigma / CELLS**0.5)
            assert exponent.square().mean() == pytest.approx(mean**2 + sigma**2, rel=0.02)

    def test_exponents_are_fixed_for_an_instance_and_stuck_cells_hold_still(self) -> None:
        d = device(programming_sigma=0.1, reference_time=1.0, drift_exponent=0.05, drift_exponent_sigma=0.02,
                   stuck_on_rate=0.2)  # fmt: skip
        one, other = (d.program(full(10e-6), seeded(write), seeded(7)) for write in (1, 2))
        assert one.drift_exponent is not None
        assert one.stuck is not None
        assert other.drift_exponent is not None
        assert torch.equal(one.drift_exponent, other.drift_exponent)
        later = d.conductance_at(one, YEAR)
        assert bool((later[one.stuck != 0] == d.g_max).all())
        assert bool((later[one.stuck == 0] < one.conductance[one.stuck == 0]).all())

    @pytest.mark.parametrize("time", [-1.0, math.nan, math.inf])
    def test_wrong_times(self, time: float) -> None:
        d = device()
        written = d.program(full(10e-6, 1), seeded())
        with pytest.raises(ParameterError, match="time must be at least 0 s"):
            d.conductance_at(written, time)
        with pytest.raises(ParameterError, match="time must be at least 0 s"):
            d.read_variance(written.conductance, time=time)

    def test_telegraph_noise(self) -> None:
        """30 % of the cells switch, half are high at first; the state is remembered as exp(-2 t / dwell time)."""
        d = device(telegraph_share=0.3, telegraph_amplitude=0.1, telegraph_dwell_time=2.0)
        written, generator = d.program(full(10e-6), seeded()), seeded(3)
        state = written.telegraph
        assert state is not None
        assert state.dtype == torch.int8
        assert (state != 0).double().mean() == pytest.approx(0.3, abs=5 * (0.21 / CELLS) ** 0.5)
        switching = state[state != 0].double()
        error = 5 / len(switching) ** 0.5
        assert abs(switching.mean()) < error
        held = d.conductance_at(written, 1e6)  # without a generator states are held
        assert held.unique().numpy() == pytest.approx([10e-6, 11e-6])
        assert bool(((held > 10.5e-6) == (state > 0)).all())
        for elapsed in (0.0, 0.5, 2.0, 40.0):
            high = d.conductance_at(written, elapsed, generator)[state != 0] > 10.5e-6
            assert (switching * (2 * high - 1)).mean() == pytest.approx(math.exp(-elapsed), abs=error)
        chained = state
        for _ in range(4):
            chained = d.telegraph_after(chained, 0.25, generator)
        assert (switching * chained[state != 0]).mean() == pytest.approx(math.exp(-1), abs=error)
        assert bool((chained[state == 0] == 0).all())

    def test_arrhenius_factor(self) -> None:
        """0.1 eV from 300 K to 350 K: exp(-0.1 / 8.617333e-5 (1/350 - 1/300)), for every cell at every time."""
        d = device(activation_energy=0.1 * UNITS["eV"][1], temperature=350.0, reference_temperature=300.0)
        written = d.program(full(10e-6, 2), seeded())
        factor = math.exp(-0.1 / 8.617333262e-5 * (1 / 350 - 1 / 300))
        assert factor == pytest.approx(1.7378, rel=1e-4)
        assert d.conductance_at(written, 0.0).numpy() == pytest.approx(factor * 10e-6)
        assert not d.is_ideal


class TestReading:
    def test_laws(self) -> None:
        g = torch.tensor([2e-6, 20e-6], dtype=torch.float64)
        proportional = device(read_noise_sigma=0.01).read_variance(g)
        assert proportional.sqrt().numpy() == pytest.approx([0.02e-6, 0.2e-6])
        independent = device(read_noise_model="independent", read_noise_sigma=0.01).read_variance(g)
        assert independent.sqrt().numpy() == pytest.approx([0.2e-6, 0.2e-6])
        assert not device(read_noise_sigma=0.01).is_ideal

    def test_flicker_noise(self) -> None:
        """By hand at g = 0.25: Q = 0.01 / 0.25^0.5 = 0.02; at 80 s + 20 s over 2 x 1 µs, sqrt(ln(5e7)) = 4.210407."""
        d = device(g_max=20e-6, read_noise_model="flicker", read_noise_q0=0.01, read_noise_q1=0.5, read_noise_q_max=0.1,
                   read_noise_time=1e-6, reference_time=20.0)  # fmt: skip
        held, target = torch.tensor([4e-6, 0.0], dtype=torch.float64), torch.tensor([5e-6, 0.0], dtype=torch.float64)
        sigma = d.read_variance(held, target, 80.0).sqrt()
        assert sigma.numpy() == pytest.approx([4e-6 * 0.02 * 4.210407, 0.0], rel=1e-6)
        capped = d.read_variance(held, torch.full_like(held, 1e-9), 80.0).sqrt()
        assert capped[0] == pytest.approx(4e-6 * 0.1 * 4.210407, rel=1e-6)

    def test_thermal_noise(self) -> None:
        """Johnson-Nyquist, 4 k T G B / V²: 300 K, 10 µS, 1 MHz and 0.2 V give a sigma of 2.0351 nS."""
        g = full(10e-6, 1)
        d = device(temperature=300.0, read_voltage=0.2, read_bandwidth=1e6, read_noise_sigma=0.001)
        added = d.read_variance(g) - (0.001 * g) ** 2
        assert added.sqrt().item() == pytest.approx(2.0351e-9, rel=1e-4)
        assert d.read_variance(g, bandwidth=4e6) - (0.001 * g) ** 2 == pytest.approx(4 * added.item())
        assert device(temperature=300.0).read_variance(g) == 0
        with pytest.raises(ParameterError, match="thermal noise needs"):
            device(temperature=300.0).read_variance(g, bandwidth=1e6)

    def test_laws_of_current(self) -> None:
        from xbar.hw.cells.law import Linear, Polynomial, Sinh

        assert device().law == Linear()
        assert device(iv="sinh", iv_v0=0.3).law == Sinh(0.3)
        assert device(iv="polynomial", iv_c2=0.1, iv_c3=0.2).law == Polynomial(0.1, 0.2)
        assert not device(iv="sinh", iv_v0=0.3).is_ideal


# Mean and standard deviation [µS] of aihwkit 1.1.0's PCM model, from 1e6 samples a level: just programmed, then with
# one read at each time after it [s].
PCM_TIMES = (20.0, 3600.0, 86400.0, 30 * 86400.0, YEAR)
PCM = {
    0.0: ((0.105, 0.154), (0.100, 0.175), (0.066, 0.122), (0.051, 0.099), (0.039, 0.083), (0.032, 0.074)),
    5.0: ((5.000, 0.610), (4.832, 0.784), (3.879, 0.722), (3.331, 0.712), (2.836, 0.709), (2.524, 0.705)),
    12.5: ((12.501, 0.952), (12.084, 1.165), (9.698, 1.056), (8.313, 1.028), (7.053, 1.007), (6.254, 0.991)),
    20.0: ((19.999, 1.085), (19.334, 1.348), (15.515, 1.301), (13.301, 1.340), (11.284, 1.378), (10.005, 1.394)),
    25.0: ((25.001, 1.057), (24.166, 1.373), (19.396, 1.409), (16.627, 1.514), (14.106, 1.606), (12.507, 1.648)),
}  # fmt: skip


class TestPresets:
    @pytest.mark.parametrize("target", PCM)
    def test_pcm_reproduces_the_package(self, target: float, generator: torch.Generator) -> None:
        """Mean and spread at each time: 5 standard errors of both samples, and half a unit of the table's last digit."""
        d = load_device("pcm")
        written = d.program(full(target * 1e-6), generator)
        for time, (mean, std) in zip((0.0, *PCM_TIMES), PCM[target], strict=True):
            read = d.conductance_at(written, time)
            if time:
                normal = torch.randn(read.shape, generator=generator, dtype=torch.float64)
                read = (read + d.read_variance(read, written.conductance, time).sqrt() * normal).clamp(min=0)
            ours = read.mean().item() * 1e6, read.std().item() * 1e6
            error = 5 * std * (1 / CELLS + 1 / 1e6) ** 0.5
            assert ours[0] == pytest.approx(mean, abs=error + 0.0005), (time, ours)
            # The spread of a skewed sample is less sure than a normal one's, error / sqrt 2; that of 0 µS the least.
            assert ours[1] == pytest.approx(std, abs=1.5 * error + 0.0005), (time, ours)

    def test_hfox_table_is_the_packages_quartic(self) -> None:
        d = load_device("hfox")
        g = torch.linspace(0, 1, 21, dtype=torch.float64)
        quartic = 0.348 + g * (16.030 + g * (-43.853 + g * (45.393 - 16.815 * g)))
        assert (d.write_sigma(g * d.g_max) * 1e6).numpy() == pytest.approx(quartic.numpy(), abs=6e-5)
        between = (g[:-1] + g[1:]) / 2
        smooth = 0.348 + between * (16.030 + between * (-43.853 + between * (45.393 - 16.815 * between)))
        assert (d.write_sigma(between * d.g_max) * 1e6).numpy() == pytest.approx(smooth.numpy(), abs=0.03)

    @pytest.mark.parametrize("time", [86400.0, 30 * 86400.0, YEAR, 10 * YEAR])
    def test_taox_keeps_to_its_source_at_50_microsiemens(self, time: float, generator: torch.Generator) -> None:
        """Shift 0.08900 ln t and spread 0.41183 + 0.04201 ln t µS, to the shares that the preset states."""
        d = load_device("taox")
        later = d.conductance_at(d.program(full(50e-6), generator), time) * 1e6
        assert 50 - later.mean() == pytest.approx(0.08900206 * math.log(time), rel=0.03)
        assert later.std() == pytest.approx(0.41183342 + 0.04201137 * math.log(time), rel=0.065)

    def test_taox_read_noise(self) -> None:
        d = load_device("taox")
        g = torch.linspace(9e-6, 88.2e-6, 20, dtype=torch.float64)
        ours = d.read_variance(g, g, 9.0).sqrt() * 1e6
        source = 0.0277316483 * torch.log10(g * 1e6) * math.sqrt(math.log((10 + 1e-6) / 2e-6))
        ratio = ours / source
        assert ratio[[0, -1]].numpy() == pytest.approx([1, 1], abs=1e-3)
        assert ratio.min() == pytest.approx(0.94, abs=0.005)

    @pytest.mark.parametrize("name", device_names())
    def test_numbers_have_kind_and_source_or_reason(self, name: str) -> None:
        file = load_device_file(name)
        assert file.name == name
        for key, quantity in file.provenance.items():
            assert quantity.kind in KINDS, key
            assert quantity.source in file.source or quantity.why, key
        used = {quantity.source for quantity in file.provenance.values()}
        assert set(file.source) <= used
        assert Device.model_validate_json(file.device.model_dump_json()) == file.device
        assert hash(file.device) == hash(load_device(name))

    def test_tables_name_their_source(self) -> None:
        for path in TABLE_FOLDER.glob("*.csv"):
            assert read_table(path)
            assert path.read_text("utf-8").startswith("# ")

    @pytest.mark.parametrize("name", device_names())
    @pytest.mark.parametrize("chip", ["isaac", "edge"])
    def test_a_chip_takes_another_device(self, chip: str, name: str) -> None:
        """The device, its numbers' statements and its sources are the preset's; the bits per cell stay the chip's."""
        own, file = load_chip(chip), load_device_file(name)
        changed = load_chip(chip, device=name)
        assert changed.device == file.device
        assert changed.cell_bits == own.cell_bits
        device_numbers = {key: value for key, value in changed.provenance.items() if key.startswith("device.")}
        assert device_numbers == file.provenance
        assert set(changed.source) == set(own.source) | set(file.source)
        assert changed.provenance["component.adc.bits"] == own.provenance["component.adc.bits"]
        assert load_chip(chip, {"device.levels": "64"}, device=name).device.levels == 64


class TestFiles:
    TOML = """
name = "own"
title = "Own"
description = "A device of one's own"
[source.paper]
cite = "A paper"
read = "read"
[device]
levels = { value = 4, unit = "1", kind = "published", source = "paper" }
g_min = { value = 1, unit = "µS", kind = "published", source = "paper" }
g_max = { value = 3, unit = "µS", kind = "published", source = "paper" }
programming_model = "table"
programming_table = "own.csv"
"""
    TABLE = "conductance_S,sigma_S\n1e-6,1e-8\n3e-6,3e-8\n"

    def folder(self, path: Path, table: str | None = TABLE, toml: str = TOML) -> Path:
        (path / "own.toml").write_text(toml, "utf-8")
        if table is not None:
            (path / "own.csv").write_text(table, "utf-8")
        return path / "own.toml"

    def test_a_table_is_found_beside_its_file(self, tmp_path: Path) -> None:
        d = load_device(self.folder(tmp_path))
        assert d.programming_table == ((1e-6, 1e-8), (3e-6, 3e-8))
        own = load_chip("isaac", device=tmp_path / "own.toml").device
        assert own == d.model_copy(update={"read_voltage": 0.2}), "the chip's own, where the file says none"
        assert Device(**dict(d) | {"programming_table": str(tmp_path / "own.csv")}) == d

    def test_a_packaged_table_can_be_named_from_anywhere(self, tmp_path: Path) -> None:
        toml = self.TOML.replace("own.csv", "hfox.csv")
        assert load_device(self.folder(tmp_path, None, toml)).programming_table == load_device("hfox").programming_table

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            (None, "own.csv cannot be read"),
            ("", "the header must be conductance_S,sigma_S, got nothing"),
            ("G,s\n1e-6,1e-8\n", "the header must be conductance_S,sigma_S, got G,s"),
            ("conductance_S,sigma_S\n1e-6,1e-8\n", "at least two points"),
            ("conductance_S,sigma_S\n1e-6,1e-8\n3e-6,-1e-8\n", "nothing may be below 0 S"),
            ("conductance_S,sigma_S\n3e-6,1e-8\n1e-6,1e-8\n", "targets must rise"),
            ("conductance_S,sigma_S\n1e-6,1e-8\n1e-6,1e-8\n", "targets must rise"),
            ("conductance_S,sigma_S\n1e-6,nan\n3e-6,1e-8\n", "must be finite"),
            ("conductance_S,sigma_S\n1e-6,1e-8\n3e-6,inf\n", "must be finite"),
            ("conductance_S,sigma_S\n# a note\n1e-6,much\n", "line 3: needs two numbers"),
            ("conductance_S,sigma_S\n1e-6\n", "line 2: needs two numbers"),
            ("conductance_S,sigma_S\n2e-6,1e-8\n3e-6,1e-8\n", "must reach from g_min to g_max"),
        ],
    )
    def test_wrong_tables_are_named(self, tmp_path: Path, table: str | None, said: str) -> None:
        with pytest.raises(ConfigurationError, match=r"own\.toml: device") as error:
            load_device(self.folder(tmp_path, table))
        assert said in str(error.value)

    def test_wrong_files_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"device = pcn: no such file, and no such preset; presets: hfox"):
            load_device("pcn")
        with pytest.raises(ConfigurationError, match="no such preset"):
            load_chip("edge", device="pcn")
        wrong = self.folder(tmp_path, self.TABLE, self.TOML.replace("levels", "level"))
        with pytest.raises(ConfigurationError, match=r"own\.toml: device\.level .*did you mean levels"):
            load_chip("edge", device=wrong)

    def test_sources_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        chip = load_chip("isaac", device=self.folder(tmp_path, self.TABLE, self.TOML.replace("paper", "isaac2016")))
        assert chip.source["isaac2016"] == load_chip("isaac").source["isaac2016"]
        assert chip.source[str(chip.provenance["device.levels"].source)].cite == "A isaac2016"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"programming_model": "table"}, "need each other"),
        ({"programming_table": [(0, 0), (1, 0)]}, "need each other"),
        ({"programming_model": "table", "programming_table": [(0, 0), (20e-6, 0)]}, "reach from g_min to g_max"),
        ({"programming_model": "table", "programming_table": [(0, 0), (1, math.nan)]}, "must be finite"),
        ({"programming_model": "polynomial", "programming_sigma": 0.1}, "has no meaning"),
        ({"programming_s1": 1e-6}, "need programming_model polynomial"),
        ({"write_verify_tolerance": 0.1}, "need each other"),
        ({"write_verify_most": 3}, "need each other"),
        ({"write_verify_tolerance": 0.0, "write_verify_most": 3}, "write_verify_tolerance"),
        ({"device_to_device_sigma": -0.1}, "device_to_device_sigma"),
        ({"drift_exponent": 0.1}, "needs reference_time"),
        ({"drift_exponent": -0.1, "reference_time": 1.0}, "below 0 needs"),
        ({"drift_exponent_slope": 0.1, "reference_time": 1.0}, "no limit at 0 S"),
        (
            {"drift_exponent": 0.1, "drift_exponent_low": 0.2, "drift_exponent_high": 0.1, "reference_time": 1.0},
            "drift_exponent_low = 0.2 must be at most",
        ),
        ({"telegraph_share": 0.1}, "needs telegraph_amplitude"),
        ({"read_noise_model": "flicker"}, "needs read_noise_q0"),
        ({"read_noise_q0": 0.1}, "needs read_noise_model flicker"),
        ({"read_bandwidth": 1e6}, "needs temperature"),
        ({"activation_energy": 1e-20}, "needs temperature"),
        ({"temperature": 0.0}, "temperature"),
        ({"iv": "sinh"}, "needs iv_v0"),
        ({"iv_v0": 0.1}, "needs iv sinh"),
        ({"iv_c3": 0.1}, "need iv polynomial"),
    ],
)
def test_wrong_features(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        device(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"g_min": -1e-6}, "g_min"),
        ({"g_min": 21e-6}, "must be below g_max"),
        ({"g_max": float("nan")}, "g_max"),
        ({"g_max": float("inf")}, "g_max"),
        ({"levels": 1}, "levels"),
        ({"levels": 12}, "power of two"),
        ({"programming_sigma": -0.1}, "programming_sigma"),
        ({"programming_model": "gaussian"}, "programming_model"),
        ({"stuck_on_rate": 0.6, "stuck_off_rate": 0.6}, "at most 1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_devices(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        device(**changes)
