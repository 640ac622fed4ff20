"""The cell: programming error, stuck cells and read noise against their definitions."""

import pytest
import torch
from pydantic import ValidationError

from hw import Device

CELLS = 200_000


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
