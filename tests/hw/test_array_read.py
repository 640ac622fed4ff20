"""Non-linear and gate-selected cells through the product, against sums over cells written out in numpy."""

import numpy as np
import pytest
import torch

from tests.hw.test_crossbar import crossbar_matrix, small_chip
from xbar.hw import Chip, ConfigurationError, ParameterError
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import read_integers
from xbar.hw.cells.law import Polynomial

G_MIN, G_MAX, VOLT, V0 = 1e-6, 80e-6, 0.6, 0.25
SCHEMES: list[dict[str, object]] = [
    {"scheme": "differential"}, {"scheme": "differential", "subtraction": "digital"},
    {"scheme": "differential", "subtraction": "shared_bitline"}, {"scheme": "separate"},
    {"scheme": "offset"}, {"scheme": "offset", "offset_reference": "digital"},
]  # fmt: skip


def nonlinear_chip(dac: int, signed: str = "two_pass", wires: dict[str, object] | None = None, **scheme: object) -> Chip:
    """4-bit weights on 2-bit cells, 6-bit inputs; an ADC that neither rounds nor clips."""
    chip = small_chip(8, 11, 2, 4, 6, dac, signed, 8, "ideal", **scheme)
    device = {"g_min": G_MIN, "g_max": G_MAX, "read_voltage": VOLT, "iv": "sinh", "iv_v0": V0}
    return chip.with_changes(device=device, wires=wires or {})


def by_hand(matrix: CrossbarMatrix, x: np.ndarray, dac: int, current) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Products from cell currents current(V, G) [A], summed over rows cell by cell."""
    g = matrix.geometry
    top, step = 2**dac - 1, (G_MAX - G_MIN) / 3
    columns = matrix.mapped.columns()[0].numpy()
    total = np.zeros((len(x), g.outputs))
    for sign, part in ((1, np.maximum(x, 0)), (-1, np.maximum(-x, 0))):
        for k in range(-(-6 // dac)):
            codes = (part >> dac * k) & top
            for rt in range(g.row_tiles):
                volt = codes[:, rt * g.inputs_per_crossbar : (rt + 1) * g.inputs_per_crossbar] / top * VOLT
                cells = G_MIN + columns[rt, : volt.shape[1]] * step
                levels = np.zeros((len(x), columns.shape[2]))
                for c in range(columns.shape[2]):
                    shared_minus = g.encoding.shared_bitline and c % 2
                    v = -volt if shared_minus else volt
                    i = current(v, cells[:, c]).sum(1) * (-1 if shared_minus else 1)
                    levels[:, c] = (i - (volt * G_MIN).sum(1)) / (VOLT / top * step)
                for o in range(g.outputs):
                    for s in range(g.slices):
                        worth = sign * 2 ** (dac * k) * 4.0 ** (g.slices - 1 - s)
                        pols = g.encoding.polarities
                        first = (o * g.slices + s) * pols
                        total[:, o] += worth * (levels[:, first] - (levels[:, first + 1] if pols == 2 else 0))
                    if g.reference_columns:
                        reference = levels[:, g.outputs * g.slices + o // g.outputs_per_crossbar]
                        total[:, o] -= sign * 2 ** (dac * k) * reference * 4.0 ** (g.slices - 1)
                    elif g.encoding.scheme == "offset":
                        total[:, o] -= sign * 2 ** (dac * k) * codes[:, rt * 8 : rt * 8 + 8].sum(1) * 8
    return total


def sinh(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
    return g * V0 * np.sinh(volt / V0)


def case(chip: Chip, outputs: int = 5, width: int = 19, signed: bool = True) -> tuple[CrossbarMatrix, np.ndarray]:
    matrix = crossbar_matrix(chip, outputs, width, 1, 2, signed).double()
    matrix.program((0,))
    return matrix, np.random.default_rng(1).integers(-63 if signed else 0, 64, (30, width))


def product(matrix: CrossbarMatrix, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return matrix(torch.from_numpy(x).double()[None])[0].double().numpy()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dac", [1, 2, 6])
def test_sinh_cells_over_ideal_wires(scheme: dict[str, object], dac: int) -> None:
    """2 or 4 different voltages take one way through the code, 64 the other; several row and column tiles."""
    matrix, x = case(nonlinear_chip(dac, **scheme))
    expected = by_hand(matrix, x, dac, sinh)
    assert product(matrix, x) == pytest.approx(expected, abs=1e-9 * abs(expected).max())
    assert not matrix.exact


@pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[3]])
def test_one_bit_drivers_only_scale(scheme: dict[str, object]) -> None:
    """With one voltage every cell's current is G times the same number: pairs of sinh cells give the linear product
    times v0 sinh(V / v0) / V, exactly."""
    matrix, x = case(nonlinear_chip(1, **scheme))
    factor = V0 * np.sinh(VOLT / V0) / VOLT
    assert factor > 2
    expected = factor * (x @ read_integers(matrix.mapped)[0].numpy().T)
    if scheme["scheme"] == "separate":  # g_min's current is taken away as if cells were linear, alike in both planes
        assert matrix.geometry.planes == 2
    assert product(matrix, x) == pytest.approx(expected, rel=1e-10, abs=1e-8)


def test_several_bits_do_not() -> None:
    matrix, x = case(nonlinear_chip(6, scheme="differential"))
    linear = x @ read_integers(matrix.mapped)[0].numpy().T
    ratio = (product(matrix, x) * linear).sum() / (linear**2).sum()
    assert abs(product(matrix, x) - ratio * linear).max() > 0.05 * abs(linear).max()


def test_a_large_v0_is_linear() -> None:
    chip = nonlinear_chip(6, scheme="differential").with_changes(device={"iv_v0": 1e4})
    matrix, x = case(chip)
    assert product(matrix, x) == pytest.approx(x @ read_integers(matrix.mapped)[0].numpy().T, rel=1e-7, abs=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_law_of_ones_own(scheme: dict[str, object]) -> None:
    """I = G (V + 0.4 V² - 0.3 V³): even terms too, so a cell at -V is not minus the cell at V."""
    chip = nonlinear_chip(3, **scheme).with_changes(device={"iv": "polynomial", "iv_v0": None, "iv_c2": 0.4, "iv_c3": -0.3})
    matrix, x = case(chip)

    def polynomial(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
        return g * (volt + 0.4 * volt**2 - 0.3 * volt**3)

    expected = by_hand(matrix, x, 3, polynomial)
    assert product(matrix, x) == pytest.approx(expected, abs=1e-9 * abs(expected).max())
    linear = chip.with_changes(device={"iv": "linear", "iv_c2": 0.0, "iv_c3": 0.0})
    weight = matrix.weight.detach()
    given = CrossbarMatrix(weight, linear, True, 7.0, torch.float64, Polynomial(0.4, -0.3))
    assert np.array_equal(product(given, x), product(matrix, x)), "by name or as an object"


def energy_by_hand(matrix: CrossbarMatrix, x: np.ndarray, dac: int, power) -> float:  # type: ignore[no-untyped-def]
    """Mean energy of a vector [J] from the power(V, G) [W] of each cell on the crossbars as they lie, unused ones at g_min."""
    placed, g = matrix.layout.place(matrix.array.target(), G_MIN).numpy(), matrix.geometry
    total = 0.0
    for part in (np.maximum(x, 0), np.maximum(-x, 0)):
        for k in range(-(-6 // dac)):
            volt = ((part >> dac * k) & (2**dac - 1)) / (2**dac - 1) * VOLT
            for rt in range(g.row_tiles):
                rows = volt[:, rt * g.inputs_per_crossbar : (rt + 1) * g.inputs_per_crossbar]
                signs = (1, -1)[: g.wordlines_per_input]
                lines = np.stack([sign * rows for sign in signs], -1).reshape(len(x), -1)
                cells = placed[0, :, rt][..., placed.shape[-2] - lines.shape[1] :, :]  # (planes, column tiles, wordlines, bitlines)
                total += sum(power(line[:, None], cells).sum() for line in lines) / len(x)
    return total * matrix.design.array_read


LAWS_BY_HAND = {
    "sinh": ({"iv": "sinh", "iv_v0": V0}, sinh),
    "polynomial": (
        {"iv": "polynomial", "iv_v0": None, "iv_c2": 0.4, "iv_c3": 2.0}, lambda volt, g: g * (volt + 0.4 * volt**2 + 2.0 * volt**3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("law", LAWS_BY_HAND)
def test_energy_of_reads_is_v_i_of_v(scheme: dict[str, object], law: str) -> None:
    """Of drivers of voltages, of pulses, and of a supply that the current comes from; and as many times as much at a temperature."""
    device, current = LAWS_BY_HAND[law]
    for dac in (1, 3):
        chip = nonlinear_chip(dac, **scheme).with_changes(device=device)
        matrix, x = case(chip, 3, 10)
        given = torch.from_numpy(x).double()[None]
        own = energy_by_hand(matrix, x, dac, lambda volt, g: volt * current(volt, g))
        assert matrix.read_energy(given) == pytest.approx(own, rel=1e-12)
        fed, _ = case(chip.with_changes(component={"crossbar": {"fed_at": 0.9}}), 3, 10)
        expected = energy_by_hand(fed, x, dac, lambda volt, g: 0.9 * np.abs(current(volt, g)))
        assert fed.read_energy(given) == pytest.approx(expected, rel=1e-12)
        pulsed, _ = case(chip.with_changes(component=PULSES), 3, 10)
        expected = energy_by_hand(pulsed, x, dac, lambda volt, g: np.abs(volt) * current(np.sign(volt) * VOLT, g) * np.sign(volt))
        assert pulsed.read_energy(given) == pytest.approx(expected, rel=1e-12)
        heat = {"temperature": 350.0, "reference_temperature": 300.0, "activation_energy": 1e-20}
        hot, _ = case(chip.with_changes(device=heat), 3, 10)
        factor = np.exp(-1e-20 / 1.380649e-23 * (1 / 350 - 1 / 300))
        assert factor > 1.3
        assert hot.read_energy(given) == pytest.approx(own * factor, rel=1e-12)


def test_energy_of_reads_over_wires_is_what_the_sources_give() -> None:
    """Of wires of next to nothing that of none, of a law of one's own too; behind access transistors v + R I = V, and over wires less."""
    scheme = SCHEMES[0]
    chip = nonlinear_chip(3, **scheme)
    matrix, x = case(chip, 3, 10)
    x, given = x[:3], torch.from_numpy(x[:3]).double()[None]
    without = matrix.read_energy(given)
    tiny, _ = case(nonlinear_chip(3, wires=dict.fromkeys(("wordline", "bitline", "driver", "sense", "access"), 1e-7), **scheme), 3, 10)
    assert tiny.read_energy(given) == pytest.approx(without, rel=1e-6)
    wired, _ = case(nonlinear_chip(3, wires={"bitline": 100.0}, **scheme), 3, 10)
    assert 0.5 * without < wired.read_energy(given) < 0.999 * without
    behind, _ = case(nonlinear_chip(3, wires={"access": 2e3}, **scheme), 3, 10)

    def through(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
        low, high = np.minimum(volt, 0) + 0 * g, np.maximum(volt, 0) + 0 * g
        for _ in range(60):
            middle = (low + high) / 2
            beyond = middle + 2e3 * sinh(middle, g) > volt
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return sinh(low, g)

    expected = energy_by_hand(behind, x, 3, lambda volt, g: volt * through(volt, g))
    assert behind.read_energy(given) == pytest.approx(expected, rel=1e-9)
    linear = chip.with_changes(device={"iv": "linear", "iv_v0": None})
    own = CrossbarMatrix(matrix.weight.detach(), linear, True, 7.0, torch.float64, Polynomial(0.4, 2.0))
    expected = energy_by_hand(own, x, 3, lambda volt, g: g * volt**2 * (1 + 0.4 * volt + 2.0 * volt**2))
    assert own.read_energy(given) == pytest.approx(expected, rel=1e-12)


PULSES = {"dac": {"law": "pulse_width"}}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dac", [1, 2, 6])
def test_pulses_are_as_long_as_codes_say_at_the_full_voltage(scheme: dict[str, object], dac: int) -> None:
    """Shares of the read at I(V) or I(-V), of a law with even terms too."""
    law = {"iv": "polynomial", "iv_v0": None, "iv_c2": 0.4, "iv_c3": 2.0}
    matrix, x = case(nonlinear_chip(dac, **scheme).with_changes(device=law, component=PULSES))

    def pulses(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
        at = np.sign(volt) * VOLT
        return np.abs(volt) / VOLT * g * (at + 0.4 * at**2 + 2.0 * at**3)

    expected = by_hand(matrix, x, dac, pulses)
    assert product(matrix, x) == pytest.approx(expected, abs=1e-9 * abs(expected).max())


def test_a_pulse_of_half_the_length_gives_half_the_charge() -> None:
    """Behind access transistors too; a driver of voltages gives far less than half."""
    for access in (0.0, 5e3):
        chip = nonlinear_chip(6, scheme="differential", wires={"access": access})
        found = []
        for law in ("pulse_width", "driver"):
            matrix, _ = case(chip.with_changes(component={"dac": {"law": law}}), 5, 7, signed=False)
            at_63, at_21 = (product(matrix, np.full((1, 7), code)) for code in (63, 21))
            found.append(np.abs(at_21).sum() / np.abs(at_63).sum())
        assert found[0] == pytest.approx(1 / 3, rel=1e-9)
        assert found[1] < 0.25


@pytest.mark.parametrize(("device", "wires", "said"), [
    ({}, {"bitline": 1.0}, "needs device.iv = linear or lines without resistance"),
    ({"iv": "linear", "iv_v0": None}, {"driver": 1.0, "topology": "gate_selected"}, "needs wires.topology = row_driven or lines without"),
])  # fmt: skip
def test_pulses_along_lines_that_see_each_other_are_refused(device: dict[str, object], wires: dict[str, object], said: str) -> None:
    chip = nonlinear_chip(3, scheme="differential", wires=wires).with_changes(device=device)
    with pytest.raises(ConfigurationError, match=said):
        chip.with_changes(component=PULSES)
    assert chip.with_changes(component={"dac": {"law": "pulse_width", "bits": 1}}).component.dac.bits == 1, "all pulses end together"
    if not device:
        return
    linear = chip.with_changes(wires={"topology": "row_driven"}, component=PULSES)
    matrix = CrossbarMatrix(torch.full((1, 2, 3), 7.0), linear, False, 7.0, torch.float64, Polynomial(0.4, -0.3))
    with pytest.raises(ParameterError, match="need lines without resistance where cells are not linear"):
        matrix(torch.tensor([[[1.0, 2.0, 3.0]]]))


@pytest.mark.parametrize("scheme", SCHEMES[:5])
def test_wires_of_next_to_nothing_change_nothing(scheme: dict[str, object]) -> None:
    tiny = dict.fromkeys(("wordline", "bitline", "driver", "sense", "access"), 1e-7)
    matrix, x = case(nonlinear_chip(3, **scheme), 3, 10)
    wired, _ = case(nonlinear_chip(3, wires=tiny, **scheme), 3, 10)
    expected = product(matrix, x[:4])
    assert product(wired, x[:4]) == pytest.approx(expected, abs=1e-7 * abs(expected).max())


@pytest.mark.parametrize("scheme", SCHEMES[:5])
def test_an_access_transistor_in_series(scheme: dict[str, object]) -> None:
    """Cells alone behave as G V0 sinh(v / V0) where v + R I = V: bisection in numpy."""
    ohm = 4e3
    matrix, x = case(nonlinear_chip(2, wires={"access": ohm}, **scheme), 3, 10)

    def in_series(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
        low, high = np.minimum(volt, 0) + 0 * g, np.maximum(volt, 0) + 0 * g
        for _ in range(100):
            middle = (low + high) / 2
            beyond = middle + ohm * sinh(middle, g) > volt
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return sinh((low + high) / 2, g)

    expected = by_hand(matrix, x, 2, in_series)
    assert product(matrix, x) == pytest.approx(expected, rel=1e-8, abs=1e-8 * abs(expected).max())
    alone = by_hand(matrix, x, 2, sinh)
    assert abs(alone - expected).max() > 0.02 * abs(alone).max()


class TestGateSelected:
    """One transistor a cell, switched by the wordline: cells whose input is 0 carry nothing."""

    @staticmethod
    def chip(wires: dict[str, object], dac: int = 1, **scheme: object) -> Chip:
        chip = nonlinear_chip(dac, wires={"topology": "gate_selected", **wires}, **scheme)
        return chip.with_changes(device={"iv": "linear", "iv_v0": None})

    @staticmethod
    def column(g: np.ndarray, emf: np.ndarray, wires: dict[str, float], above: int, below: int) -> float:
        """Current [A] of one bitline and its source line, all nodes by numpy's dense solver. `above`: unused rows before
        the first; wires run through them."""
        n = len(g)
        source = wires["driver"] + above * wires["wordline"]
        sense = wires["sense"] + below * wires["bitline"]
        a, rhs = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)  # source-line nodes, then bitline nodes

        def join(i: int, j: int | None, siemens: float) -> None:
            a[i, i] += siemens
            if j is not None:
                a[j, j] += siemens
                a[i, j] -= siemens
                a[j, i] -= siemens

        join(0, None, 1 / source)
        join(2 * n - 1, None, 1 / sense)
        for row in range(n):
            if row + 1 < n:
                join(row, row + 1, 1 / wires["wordline"])
                join(n + row, n + row + 1, 1 / wires["bitline"])
            if emf[row]:
                cell = g[row] / (1 + wires["access"] * g[row])
                join(row, n + row, cell)
                rhs[row] -= cell * emf[row]
                rhs[n + row] += cell * emf[row]
        return float(np.linalg.solve(a, rhs)[2 * n - 1] / sense)

    @pytest.mark.parametrize("dac", [1, 2])
    @pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[3], SCHEMES[4]])
    def test_against_numpys_dense_solver(self, scheme: dict[str, object], dac: int) -> None:
        """Every bitline solved alone; five inputs on the last of 8 wordlines."""
        ohms = {"wordline": 60.0, "bitline": 90.0, "driver": 200.0, "sense": 150.0, "access": 500.0}
        matrix, x = case(self.chip(ohms, dac, **scheme), 3, 5, signed=False)
        x = x[:6]

        def columns(volt: np.ndarray, g: np.ndarray) -> np.ndarray:
            currents = np.array([self.column(g, v, ohms, 3, 0) for v in volt])
            return np.concatenate([currents[:, None], np.zeros((len(volt), len(g) - 1))], axis=1)  # summed by the caller

        expected = by_hand(matrix, x, dac, columns)
        assert product(matrix, x) == pytest.approx(expected, rel=1e-8, abs=1e-8 * abs(expected).max())
        ideal = x @ read_integers(matrix.mapped)[0].numpy().T
        assert abs(expected - ideal).max() > 0.01 * abs(ideal).max()

    @pytest.mark.parametrize("scheme", SCHEMES[:5])
    def test_ohms_of_next_to_nothing(self, scheme: dict[str, object]) -> None:
        tiny = dict.fromkeys(("wordline", "bitline", "driver", "sense", "access"), 1e-7)
        matrix, x = case(self.chip(tiny, **scheme), 5, 19)
        ideal = x @ read_integers(matrix.mapped)[0].numpy().T
        assert product(matrix, x) == pytest.approx(ideal, rel=1e-6, abs=1e-5)

    def test_nonlinear_cells_are_refused(self) -> None:
        chip = nonlinear_chip(1, wires={"topology": "gate_selected", "wordline": 1.0}, scheme="differential")
        with pytest.raises(ParameterError, match="linear"):
            case(chip)[0](torch.ones(1, 1, 19, dtype=torch.float64))


class TestRefused:
    def test_without_a_read_voltage(self) -> None:
        chip = nonlinear_chip(2, scheme="differential").with_changes(device={"read_voltage": None})
        matrix, x = case(chip)
        with pytest.raises(ParameterError, match="read_voltage"):
            product(matrix, x)

    def test_gradients(self) -> None:
        matrix, x = case(nonlinear_chip(2, scheme="differential"))
        with pytest.raises(ParameterError, match="no gradient"):
            matrix(torch.from_numpy(x).double()[None].requires_grad_())
