"""The product and its energy over resistive wires, against arrays laid out by hand as CrossbarLayout says and solved apart.

The layout once more, by hand: a block lies in the corner of the last wordlines and the first bitlines. From the first
bitline: the reference column, then output after output, its columns slice-major, positive before negative; inputs in order,
the last on the last wordline; a pair on one bitline has its positive wordline first."""

import numpy as np
import pytest
import torch

from tests.hw.test_crossbar import crossbar_matrix, small_chip
from xbar.hw import Chip, ParameterError
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import read_integers
from xbar.hw.array.parasitics import Wires, effective_conductance, solve

WIRES = {"wordline": 12.0, "bitline": 25.0, "driver": 70.0, "sense": 40.0, "access": 300.0}
G_MIN, G_MAX, VOLT = 2e-6, 150e-6, 0.25
CASES: dict[str, dict[str, object]] = {
    "differential": {"scheme": "differential"},
    "differential, digital": {"scheme": "differential", "subtraction": "digital"},
    "separate": {"scheme": "separate"}, "separate, analog": {"scheme": "separate", "subtraction": "analog"},
    "offset, analog": {"scheme": "offset", "offset_reference": "analog"}, "two-sided": {"scheme": "separate", "pair": "two_sided"},
    "offset with reference": {"scheme": "offset"},
    "offset, counted, flipped": {"scheme": "offset", "offset_reference": "digital", "flipped_columns": True},
    "shared bitline": {"scheme": "differential", "subtraction": "shared_bitline"},
}  # fmt: skip
SIZES = {"one partly filled": (2, 5), "three by several, uneven": (7, 19), "full": (4, 8), "single cell": (1, 1)}


def chip_with(wires: dict[str, object], wordlines: int = 8, bitlines: int = 9, dac: int = 2, **scheme: object) -> Chip:
    """5-bit weights on 2-bit cells, 4-bit inputs; an ADC that neither rounds nor clips."""
    chip = small_chip(wordlines, bitlines, 2, 5, 4, dac, "two_pass", 8, "ideal", **scheme)
    return chip.with_changes(device={"g_min": G_MIN, "g_max": G_MAX, "read_voltage": VOLT}, wires=wires)


def arrays_by_hand(matrix: CrossbarMatrix) -> dict[tuple[int, int, int], np.ndarray]:
    """Levels of each crossbar (plane, row tile, column tile), NaN where unused."""
    g, levels = matrix.geometry, matrix.mapped.levels[0].numpy()  # (row_tiles, rows, outputs, slices, polarities)
    lines, shared = g.wordlines_per_input, g.encoding.shared_bitline
    planes = 2 if g.encoding.scheme == "separate" else 1
    reference = int(g.reference_columns)
    arrays = {}
    for plane in range(planes):
        for rt in range(g.row_tiles):
            used = min(g.inputs_per_crossbar, g.inputs - rt * g.inputs_per_crossbar)
            for ct in range(g.column_tiles):
                a = np.full((g.wordlines, g.bitlines), np.nan)
                for i in range(used):
                    top = g.wordlines - lines * (used - i)
                    if reference:
                        a[top, 0] = 16 / 4 ** (g.slices - 1)
                    outputs = range(ct * g.outputs_per_crossbar, min(g.outputs, (ct + 1) * g.outputs_per_crossbar))
                    for within, o in enumerate(outputs):
                        for s in range(g.slices):
                            cell = levels[rt, i, o, s]
                            if shared:
                                a[top, within * g.slices + s], a[top + 1, within * g.slices + s] = cell
                            elif planes == 2:
                                a[top, within * g.slices + s] = cell[plane]
                            else:
                                first = reference + (within * g.slices + s) * len(cell)
                                a[top, first : first + len(cell)] = cell
                arrays[plane, rt, ct] = a
    return arrays


def siemens(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(np.isnan(levels), G_MIN, G_MIN + np.nan_to_num(levels) * (G_MAX - G_MIN) / 3))


def wires_given(wires: dict[str, object]) -> Wires:
    return Wires(**{"wordline": 0.0, "bitline": 0.0} | wires)


def driven(matrix: CrossbarMatrix, codes: np.ndarray, rt: int) -> np.ndarray:
    """Codes on all wordlines of a row tile, (vectors, wordlines); a pair's second wordline is driven with the opposite."""
    g = matrix.geometry
    part = codes[:, rt * g.inputs_per_crossbar : (rt + 1) * g.inputs_per_crossbar]
    part = np.stack([part, -part], axis=2).reshape(len(part), -1) if g.encoding.shared_bitline else part
    return np.pad(part, ((0, 0), (g.wordlines - part.shape[1], 0)))


def product_by_hand(matrix: CrossbarMatrix, x: np.ndarray, wires: dict[str, object], scale: float = 1.0) -> np.ndarray:
    """(vectors, outputs) in units of (weight x input); 2-bit input slices; cells times `scale`."""
    g, step = matrix.geometry, (G_MAX - G_MIN) / 3
    total = np.zeros((len(x), g.outputs))
    flipped = matrix.mapped.flipped[0].numpy()
    pair = 2 if g.encoding.shared_bitline else 1
    for (plane, rt, ct), levels in arrays_by_hand(matrix).items():
        effective = effective_conductance(siemens(levels) * scale, wires_given(wires), pair).numpy()
        for k in range(2):
            codes = (x >> 2 * k) & 3
            lines = driven(matrix, codes, rt)
            beneath = 0 if g.encoding.shared_bitline else lines.sum(1) * G_MIN
            for within in range(min(g.outputs_per_crossbar, g.outputs - ct * g.outputs_per_crossbar)):
                o = ct * g.outputs_per_crossbar + within
                for s in range(g.slices):
                    worth = 4**k * 4.0 ** (g.slices - 1 - s)
                    sign = -1 if plane else 1
                    if g.encoding.scheme == "differential" and not g.encoding.shared_bitline:
                        first = (within * g.slices + s) * 2
                        levels_now = lines @ (effective[:, first] - effective[:, first + 1]) / step
                    else:
                        column = g.reference_columns + within * g.slices + s
                        levels_now = (lines @ effective[:, column] - beneath) / step
                    if flipped[rt, o, s]:
                        levels_now = 3 * lines.sum(1) - levels_now
                    total[:, o] += sign * worth * levels_now
                if g.encoding.scheme == "offset":
                    taken = lines.sum(1) * 16.0
                    if g.encoding.analog_reference:
                        parts = [(lines @ effective[:, s] - beneath) / step * 4.0 ** (g.slices - 1 - s) for s in range(g.slices)]
                        taken = sum(parts, start=np.zeros(len(lines)))
                    elif g.reference_columns:
                        taken = (lines @ effective[:, 0] - beneath) / step * 4.0 ** (g.slices - 1)
                    total[:, o] -= 4**k * taken
    return total


def inputs(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 16, (count, width))


def product(matrix: CrossbarMatrix, x: np.ndarray) -> np.ndarray:
    return matrix(torch.from_numpy(x).double()[None])[0].double().numpy()


@pytest.mark.parametrize(
    ("case", "wordlines"), [(case, n) for case in CASES for n in (8, 7) if (case, n) != ("shared bitline", 7)]
)
@pytest.mark.parametrize("size", SIZES)
def test_product_is_that_of_arrays_laid_out_by_hand(case: str, size: str, wordlines: int) -> None:
    outputs, width = SIZES[size]
    matrix = crossbar_matrix(chip_with(WIRES, wordlines, **CASES[case]), outputs, width, 1, 3, False).double()
    matrix.program((0,))
    x = inputs(6, width)
    expected = product_by_hand(matrix, x, WIRES)
    ideal = x @ read_integers(matrix.mapped)[0].numpy().T
    assert product(matrix, x) == pytest.approx(expected, rel=1e-9, abs=1e-9 * abs(expected).max())
    assert abs(expected - ideal).max() > 0.01 * abs(ideal).max(), "wires matter here"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ends", [("both", "one"), ("one", "both"), ("both", "both")])
def test_both_ends(case: str, ends: tuple[str, str]) -> None:
    wires = {"wordline": 30.0, "bitline": 20.0, "driven_from": ends[0], "sensed_at": ends[1]}
    matrix = crossbar_matrix(chip_with(wires, **CASES[case]), 5, 11, 1, 3, False).double()
    matrix.program((0,))
    x = inputs(4, 11)
    assert product(matrix, x) == pytest.approx(product_by_hand(matrix, x, wires), rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_wires_of_next_to_nothing_are_ideal(case: str) -> None:
    tiny = dict.fromkeys(WIRES, 1e-9)
    chip = chip_with({}, **CASES[case])
    ideal = crossbar_matrix(chip, 7, 19, 1, 3, False).double()
    wired = crossbar_matrix(chip.with_changes(wires=tiny), 7, 19, 1, 3, False).double()
    for matrix in (ideal, wired):
        matrix.program((0,))
    x = inputs(6, 19)
    exact = x @ read_integers(ideal.mapped)[0].numpy().T
    assert not wired.exact
    assert product(ideal, x) == pytest.approx(exact, abs=1e-9)
    assert product(wired, x) == pytest.approx(exact, abs=2e-8)


def test_drift_changes_the_wires_solution() -> None:
    """Cells that have fallen to 0.1^0.2 of their conductance lose less in the wires: solved again, not scaled."""
    device = {"drift_exponent": 0.2, "reference_time": 1.0}
    matrix = crossbar_matrix(chip_with(WIRES, scheme="differential").with_changes(device=device), 5, 11, 1, 3, False)
    matrix.double().program((0,))
    x = inputs(4, 11)
    before = product(matrix, x)
    assert before == pytest.approx(product_by_hand(matrix, x, WIRES), rel=1e-9, abs=1e-7)
    matrix.set_time(99.0)
    factor = 100**-0.2
    after = product(matrix, x)
    # unused cells lie at g_min and do not drift; there are none here on the wordlines and bitlines that carry current
    expected = _drifted(matrix, x, factor)
    assert after == pytest.approx(expected, rel=1e-9, abs=1e-7)
    assert abs(after - factor * before).max() > 0.01 * abs(after).max()
    matrix.set_time(0.0)
    assert np.array_equal(product(matrix, x), before)


def _drifted(matrix: CrossbarMatrix, x: np.ndarray, factor: float) -> np.ndarray:
    """As product_by_hand for differential pairs, used cells times `factor`."""
    g, step = matrix.geometry, (G_MAX - G_MIN) / 3
    total = np.zeros((len(x), g.outputs))
    for (_, rt, ct), levels in arrays_by_hand(matrix).items():
        cells = siemens(levels) * torch.from_numpy(np.where(np.isnan(levels), 1.0, factor))
        effective = effective_conductance(cells, wires_given(WIRES)).numpy()
        for k in range(2):
            current = driven(matrix, (x >> 2 * k) & 3, rt) @ effective / step
            for within in range(min(g.outputs_per_crossbar, g.outputs - ct * g.outputs_per_crossbar)):
                for s in range(g.slices):
                    first = (within * g.slices + s) * 2
                    worth = 4**k * 4.0 ** (g.slices - 1 - s)
                    total[:, ct * g.outputs_per_crossbar + within] += worth * (current[:, first] - current[:, first + 1])
    return total


class TestEnergy:
    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("size", SIZES)
    def test_energy_is_what_all_sources_give(self, case: str, size: str) -> None:
        """Sum of source powers of the arrays laid out by hand, over slices, times the read time."""
        outputs, width = SIZES[size]
        chip = chip_with(WIRES, **CASES[case])
        matrix = crossbar_matrix(chip, outputs, width, 1, 3, False)
        x = inputs(6, width)
        pair = 2 if matrix.geometry.encoding.shared_bitline else 1
        power = 0.0
        for (_, rt, _), levels in arrays_by_hand(matrix).items():
            for k in range(2):
                volts = torch.from_numpy(driven(matrix, (x >> 2 * k) & 3, rt) * VOLT / 3)
                power += solve(siemens(levels), volts, wires_given(WIRES), pair).source_power.mean().item()
        found = matrix.read_energy(torch.from_numpy(x).double()[None])
        assert found == pytest.approx(power * chip.timing.array_read, rel=1e-9)

    @pytest.mark.parametrize("case", CASES)
    def test_tends_to_joules_law(self, case: str) -> None:
        """Over ever better wires to V² G t of all cells that carry current: the used ones, and on wordlines in use also
        the unused ones at g_min."""
        outputs, width = (4, 8) if CASES[case]["scheme"] != "offset" else (7, 19)
        x = inputs(6, width)
        tensor = torch.from_numpy(x).double()[None]
        chip = chip_with({}, **CASES[case])
        ideal = crossbar_matrix(chip, outputs, width, 1, 3, False)
        g = ideal.geometry
        power = 0.0
        for (_, rt, _), levels in arrays_by_hand(ideal).items():
            for k in range(2):
                square = ((driven(ideal, (x >> 2 * k) & 3, rt) * VOLT / 3) ** 2).mean(0)
                cells = siemens(levels).numpy()
                power += (square[:, None] * cells).sum()
        assert g.bitlines_of(0) <= 9
        by_joule = power * chip.timing.array_read
        assert ideal.read_energy(tensor) == pytest.approx(by_joule, rel=1e-12)
        last = np.inf
        for ohm in (10.0, 0.1, 1e-3, 1e-6):
            wired = crossbar_matrix(chip.with_changes(wires=dict.fromkeys(("wordline", "bitline"), ohm)), outputs, width, 1, 3, False)
            off = abs(wired.read_energy(tensor) / (power * chip.timing.array_read) - 1)
            assert off < last
            last = off
        assert last < 1e-8


def test_a_map_of_stuck_cells_lies_where_the_crossbars_say(edge: Chip) -> None:
    """The map's cells, and no others, are at the ends of the range."""
    chip = edge.with_changes(device={"g_min": 5e-6, "programming_sigma": 0.0, "read_noise_sigma": 0.0})
    matrix = CrossbarMatrix(torch.randn(1, 10, 40, generator=torch.Generator().manual_seed(0)), chip, False)
    before = matrix.crossbar_conductances()[0]
    stuck = torch.zeros(before.shape, dtype=torch.int8)
    stuck[0, 0, 0, 0, -1, 0], stuck[0, 0, 0, 0, -2, 3] = 1, -1  # the last inputs' cells of outputs 0 (+) and 1 (-)
    matrix.program((0,), stuck=stuck)
    after = matrix.crossbar_conductances()[0]
    assert after[0, 0, 0, 0, -1, 0] == chip.device.g_max
    assert after[0, 0, 0, 0, -2, 3] == chip.device.g_min
    assert torch.equal(after[stuck == 0], before[stuck == 0])
    assert not matrix.exact
    with pytest.raises(ParameterError, match="stuck must be"):
        matrix.program((0,), stuck=stuck[..., :5])
    with pytest.raises(ParameterError, match="only"):
        matrix.program((0,), stuck=2 * stuck)
