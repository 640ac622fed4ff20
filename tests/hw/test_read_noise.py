"""Read noise as one Gaussian per bitline, against noise drawn for each cell, slice and read in numpy, and against closed
forms. "z" below: a difference over its standard error; |z| < 5 is left by chance once in 1.7 million."""

import numpy as np
import pytest
import torch

from tests.hw.test_crossbar import crossbar_matrix, small_chip
from xbar.hw import Chip, ConfigurationError, load_chip
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import read_integers
from xbar.hw.array.parasitics import Wires, effective_conductance, solve

READS = 5000
INDEPENDENT = {"read_noise_model": "independent", "read_noise_sigma": 0.05}
CASES: dict[str, dict[str, object]] = {
    "pairs": {"scheme": "differential"},
    "pairs, subtracted after the ADCs": {"scheme": "differential", "subtraction": "digital"},
    "pairs on one bitline": {"scheme": "differential", "subtraction": "shared_bitline"},
    "two-sided pairs": {"scheme": "differential", "pair": "two_sided"},
    "separate": {"scheme": "separate"},
    "separate, subtracted before the ADC": {"scheme": "separate", "subtraction": "analog"},
    "offset, subtracted before the ADC": {"scheme": "offset", "offset_reference": "analog"},
    "offset with reference column": {"scheme": "offset"},
    "offset, counted": {"scheme": "offset", "offset_reference": "digital"},
    "offset with reference, flipped": {"scheme": "offset", "flipped_columns": True},
}


def noisy_chip(cell_bits: int, input_bits: int, wordlines: int = 16, bitlines: int = 16, **scheme: object) -> Chip:
    """5-bit weights; an ADC that neither rounds nor clips, so that only the noise is seen."""
    chip = small_chip(wordlines, bitlines, cell_bits, 5, input_bits, 1, "two_pass", 8, "ideal", **scheme)
    return chip.with_changes(device={"g_min": 1e-5, "g_max": 1e-4, "read_noise_sigma": 0.1})


def noise(matrix: CrossbarMatrix, x: torch.Tensor, reads: int = READS) -> np.ndarray:
    """Deviation from the exact product of `reads` products of one vector (inputs,), (reads, outputs)."""
    product = matrix(x.double().expand(1, reads, -1))[0].double().numpy()
    return product - (read_integers(matrix.mapped)[0].numpy() @ x.numpy())


def drawn_cell_by_cell(matrix: CrossbarMatrix, x: torch.Tensor, seed: int) -> np.ndarray:
    """The same deviation from one draw per cell, input slice and read, combined as the digital part does."""
    g, device, encoding = matrix.geometry, matrix.device, matrix.geometry.encoding
    random = np.random.default_rng(seed)
    columns = matrix.mapped.columns()[0].numpy()  # (row_tiles, rows, columns)
    g_step = (device.g_max - device.g_min) / (2**g.cell_bits - 1)
    siemens = device.g_min + columns * g_step
    independent = device.read_noise_model == "independent"
    sigma = device.read_noise_sigma * ((device.g_max - device.g_min) + 0 * siemens if independent else siemens)
    sigma = np.broadcast_to(sigma, siemens.shape)
    worth = 2.0 ** (g.cell_bits * np.arange(g.slices)[::-1])
    flipped = matrix.mapped.flipped[0].numpy()  # (row_tiles, outputs, slices)
    pols = encoding.polarities
    combine = np.zeros((g.row_tiles, columns.shape[2], g.outputs))
    for tile in range(g.row_tiles):
        for o in range(g.outputs):
            for s in range(g.slices):
                for p in range(pols):
                    sign = (-1) ** p * (-1 if flipped[tile, o, s] else 1)
                    combine[tile, (o * g.slices + s) * pols + p, o] = sign * worth[s]
            if encoding.analog_reference:
                for s in range(g.slices):
                    combine[tile, g.outputs * g.slices + o // g.outputs_per_crossbar * g.slices + s, o] = -worth[s]
            elif g.reference_columns:
                combine[tile, g.outputs * g.slices * pols + o // g.outputs_per_crossbar, o] = -worth[0]
    total = np.zeros((READS, g.outputs))
    for k in range(matrix.chip.inputs.bits):
        bit = (x.numpy().astype(int) >> k) & 1
        for tile in range(g.row_tiles):
            on = np.flatnonzero(bit[tile * g.inputs_per_crossbar : (tile + 1) * g.inputs_per_crossbar])
            for row in on:
                cells = sigma[tile, row] * random.standard_normal((READS, columns.shape[2]))
                cells = np.maximum(cells, -siemens[tile, row]) / g_step  # no cell conducts less than nothing
                total += 2**k * cells @ combine[tile]
    return total


def z_of_covariances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """z of every mean, variance and covariance of two samples of Gaussians (the standard errors of a covariance are
    sqrt((c² + v1 v2) / n))."""
    c, d = np.cov(a.T), np.cov(b.T)

    def error(c: np.ndarray) -> np.ndarray:
        v = np.diag(c)
        return (c**2 + np.outer(v, v)) / len(a)

    means = (a.mean(0) - b.mean(0)) / np.sqrt((np.diag(c) + np.diag(d)) / len(a))
    z = (c - d) / np.sqrt(error(c) + error(d))
    return np.concatenate([means, z[np.triu_indices(len(c))]])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("device", "cell_bits", "inputs"), [({}, 4, 12), ({}, 2, 12), (INDEPENDENT, 2, 12), ({}, 5, 29)]
)
def test_mean_variance_and_covariance_of_outputs(
    case: str, device: dict[str, object], cell_bits: int, inputs: int
) -> None:
    """5 outputs on one or several column tiles, on one row tile or several: 20 figures a case, all |z| < 5 (false alarm
    1.2e-5 a case, 4e-4 over all). Outputs share noise exactly where they share a reference column."""
    chip = noisy_chip(cell_bits, 3, **CASES[case]).with_changes(device=device)
    matrix = crossbar_matrix(chip, 5, inputs, 1, 5, False).double()
    matrix.program((6,))
    x = torch.randint(0, 8, (inputs,), generator=torch.Generator().manual_seed(7))
    ours, sampled = noise(matrix, x), drawn_cell_by_cell(matrix, x, 8)
    assert abs(z_of_covariances(ours, sampled)).max() < 5
    correlation = np.corrcoef(ours.T)
    tile = np.arange(5) // matrix.geometry.outputs_per_crossbar
    shared = (tile[:, None] == tile) & (matrix.geometry.reference_columns > 0) & ~np.eye(5, dtype=bool)
    apart = ~shared & ~np.eye(5, dtype=bool)
    assert (abs(correlation[apart]) < 5 / READS**0.5).all()
    assert (correlation[shared] > 0.05).all()


def test_the_reference_column_alone_correlates_by_its_closed_form() -> None:
    """Covariance of two outputs of a crossbar: the reference column's variance, sum over slices k of 4^k (w sigma G)² per
    driven row."""
    chip = noisy_chip(2, 3, bitlines=40, scheme="offset")
    matrix = crossbar_matrix(chip, 4, 12, 1, 5, False).double()
    x = torch.tensor([7, 3, 1, 0, 5, 6, 7, 2, 4, 7, 1, 3])
    rows = sum(4**k * ((x >> k) & 1).sum().item() for k in range(3))
    level = 16 / 2**4  # of the reference cells: the offset over the top slice's worth
    step = 9e-5 / 3
    variance = rows * (2**4 * 0.1 * (1e-5 + level * step) / step) ** 2
    c = np.cov(noise(matrix, x).T)
    off = c[np.triu_indices(4, 1)]
    error = np.sqrt((variance**2 + np.diag(c).max() ** 2) / READS)
    assert (abs(off - variance) < 5 * error).all()
    assert variance > 5 * 5 * error, "the bound could tell it from 0"


class TestIndependence:
    """Correlations of a few thousand to a million draws, each |r| sqrt(n) < 5 (false alarm 6e-7 each)."""

    def test_vectors_and_reads(self) -> None:
        """No correlation with the read before, nor at the distance of a generator's block or a batch."""
        chip = noisy_chip(4, 2, scheme="differential")
        matrix = crossbar_matrix(chip, 6, 10, 1, 1, False)
        x = torch.full((10,), 3)
        series = np.concatenate([noise(matrix, x, 4000), noise(matrix, x, 4500)]).astype(float)
        series /= series.std(0)
        for lag in (1, 2, 3, 7, 100, 2**15 // 6, 2**15 // 6 - 1, 4000):
            product = series[lag:] * series[:-lag]
            assert abs(product.mean()) * product.size**0.5 < 5, lag
        for lag in (1, 5):  # between neighbouring bitlines and vectors at once
            product = series[lag:, 1:] * series[:-lag, :-1]
            assert abs(product.mean()) * product.size**0.5 < 5

    @pytest.mark.parametrize("kind", ["input slices", "weight slices", "row tiles", "groups", "layers", "instances"])
    def test_nothing_else_shares_noise(self, kind: str) -> None:
        """Two products that use only one part each, at the same read numbers of two freshly programmed chips."""
        inputs, groups = (20, 1) if kind == "row tiles" else (8, 1)
        chip = noisy_chip(2, 2, wordlines=10, bitlines=40, scheme="differential")
        groups = 2 if kind == "groups" else 1
        matrix = crossbar_matrix(chip, 6, inputs, groups, 1, False)
        x = torch.full((groups, READS, inputs), 3.0)
        first, second = x.clone(), x.clone()
        changes: list[dict[str, int]] = [{}, {}]
        if kind == "input slices":
            first[:], second[:] = 1, 2
        elif kind == "row tiles":
            first[..., 10:], second[..., :10] = 0, 0
        elif kind == "layers":
            changes[1] = {"layer": 1}
        elif kind == "weight slices":
            coarse = crossbar_matrix(chip, 6, inputs, groups, 1, False)
            with torch.no_grad():  # only the upper slice stores anything; then only the lower: g_min noise stays
                matrix.weight.copy_(matrix.weight.sign() * 12)
                coarse.weight.copy_(coarse.weight.sign() * 3)
            matrix.program((0,))
            coarse.program((0,))
            a, b = (m(x)[0].double().numpy() for m in (matrix, coarse))
            # outputs carry 4 upper + lower of the same draws: equal but for the cells' own sigma
            assert np.corrcoef(a[:, 0], b[:, 0])[0, 1] > 0.3
            variance = sum(
                2 * 4**k * worth**2 * (0.1 * (1e-5 + matrix.device.level_step(2) * matrix.mapped.levels[0, 0, :, 0, s].numpy())
                / matrix.device.level_step(2)) ** 2
                for k in range(2) for s, worth in enumerate((4, 1))
            ).sum() / 2  # fmt: skip
            assert a[:, 0].var() == pytest.approx(variance, rel=5 * (2 / READS) ** 0.5)
            return
        matrix.program((0,), **changes[0])
        a = matrix(first).double()
        matrix.program((5 if kind == "instances" else 0,), **changes[1])
        b = matrix(second).double()
        a, b = (part.numpy() for part in ((a[0], b[1]) if kind == "groups" else (a[0], b[0])))
        a, b = a - a.mean(0), b - b.mean(0)
        correlation = (a.T @ b) / len(a) / np.outer(a.std(0), b.std(0))
        assert abs(correlation).max() * READS**0.5 < 5
        if kind != "instances":  # the test would see it: the same chip, layer, slice and tile give the same noise
            matrix.program((0,), **changes[0])
            again = matrix(first)[0].double().numpy()
            assert np.array_equal(again - again.mean(0), a)


class TestCorrelationTime:
    """One draw lasts for `read_correlation_time`: here 8 vectors of 3 input slices."""

    @staticmethod
    def matrix(vectors: float) -> CrossbarMatrix:
        chip = noisy_chip(4, 3, scheme="differential")
        time = vectors * 3 * chip.timing.array_read
        return crossbar_matrix(chip.with_changes(device={"read_correlation_time": time}), 5, 12, 1, 5, False).double()

    def variance(self, matrix: CrossbarMatrix, x: torch.Tensor) -> np.ndarray:
        """Closed form: a cell's error is the same in all slices, so it counts with x itself: sum x² (sigma G)²."""
        step = 9e-5 / 15
        siemens = 1e-5 + step * matrix.mapped.levels[0, 0, :, :, 0].numpy()  # (rows, outputs, polarities)
        return np.einsum("i,iop->o", x.numpy() ** 2.0, (0.1 * siemens / step) ** 2)

    def test_averaging_inside_gains_nothing_and_over_many_epochs_it_does(self) -> None:
        """Over E epochs the variance of the mean is that of one read over E, whatever the reads in each; z < 5 for ten
        sample variances (false alarm 6e-6)."""
        matrix = self.matrix(8)
        x = torch.tensor([7, 3, 1, 0, 5, 6, 7, 2, 4, 7, 1, 3])
        expected = self.variance(matrix, x)
        epochs = 800
        series = noise(matrix, x, 8 * epochs).reshape(epochs, 8, 5)
        assert np.ptp(series, axis=1).max() < 1e-9, "all reads inside an epoch are the same"
        inside = series.mean(1)
        assert inside.var(0) == pytest.approx(expected, rel=5 * (2 / epochs) ** 0.5)
        many = inside.reshape(40, 20, 5).mean(1)  # 40 averages over 20 epochs, 160 reads each
        assert many.var(0, ddof=1) == pytest.approx(expected / 20, rel=5 * (2 / 39) ** 0.5)
        lag = (inside[1:] * inside[:-1] / expected).mean()
        assert abs(lag) * (5 * (epochs - 1)) ** 0.5 < 5

    def test_independent_reads_average_out(self) -> None:
        """Without a correlation time the same 160 reads give a mean 8 times quieter than 20 epochs' (here the slices
        draw apart too: sum over k of 4^k in place of x²)."""
        matrix = self.matrix(0)
        x = torch.tensor([7, 3, 1, 0, 5, 6, 7, 2, 4, 7, 1, 3])
        apart = torch.tensor([sum(4**k * ((int(v) >> k) & 1) for k in range(3)) for v in x]).double().sqrt()
        expected = self.variance(matrix, apart)
        means = noise(matrix, x, 160 * 100).reshape(100, 160, 5).mean(1)
        assert means.var(0, ddof=1) == pytest.approx(expected / 160, rel=5 * (2 / 99) ** 0.5)

    def test_epochs_do_not_depend_on_batches(self) -> None:
        x = torch.randint(0, 8, (1, 50, 12), generator=torch.Generator().manual_seed(0)).double()
        whole, parts = self.matrix(8), self.matrix(8)
        cut = torch.cat([parts(part) for part in x.split([3, 1, 20, 26], dim=1)], dim=1)
        assert torch.equal(whole(x), cut)

    def test_a_time_shorter_than_a_vector_is_one_vector(self) -> None:
        x = torch.tensor([7, 3, 1, 0, 5, 6, 7, 2, 4, 7, 1, 3])
        series = noise(self.matrix(0.01), x, 300)
        assert len(np.unique(series[:, 0])) == 300


class TestOneDrawAVector:
    """All input slices of a vector see the same draw of each cell: `read_noise_drawn` = "each_vector"."""

    @staticmethod
    def chip(**changes: object) -> Chip:
        return noisy_chip(4, 3, scheme="differential").with_changes(device={"read_noise_drawn": "each_vector", **changes})

    @pytest.mark.parametrize("x", [[7, 3, 1, 0, 5, 6, 7, 2, 4, 7, 1, 3], [7] * 12, [1] * 12, [4, 0] * 6, [0] * 12])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_variance_is_that_of_the_whole_input(self, x: list[int], dtype: torch.dtype) -> None:
        """sum x² (sigma G)², in place of sum over slices of 4^k; vectors are independent; also where slices are alike."""
        matrix = crossbar_matrix(self.chip(), 5, 12, 1, 5, False).to(dtype)
        given = torch.tensor(x)
        expected = TestCorrelationTime().variance(matrix, given)
        series = noise(matrix, given)
        assert series.var(0) == pytest.approx(expected, rel=5 * (2 / READS) ** 0.5)
        assert (abs(series.mean(0)) <= 5 * (expected / READS) ** 0.5 + 1e-9).all()
        lag = (series[1:] * series[:-1] / expected.clip(min=1e-9)).mean()
        assert abs(lag) * (5 * READS) ** 0.5 < 5

    @pytest.mark.parametrize("scheme", ["pairs", "offset with reference column", "offset, subtracted before the ADC"])
    def test_signed_inputs_and_converters_as_drawn_cell_by_cell(self, scheme: str) -> None:
        """Two row tiles, two passes, an ADC that rounds: mean, variance and covariance, |z| < 5."""
        chip = noisy_chip(2, 3, 8, 20, **CASES[scheme]).with_changes(
            device={"read_noise_drawn": "each_vector"}, component={"adc": {"bits": 6, "range": "full_scale"}}
        )
        matrix = crossbar_matrix(chip, 2, 11, 1, 5, True).double()
        x = torch.tensor([7, -3, 1, 0, 5, -6, 7, 2, -4, 7, 1])
        ours = noise(matrix, x)
        g, adc, random = matrix.geometry, matrix.channel.adc, np.random.default_rng(3)
        columns = matrix.mapped.columns()[0].numpy()
        step = 9e-5 / 3
        worth, total = 4.0 ** np.arange(g.slices)[::-1], np.zeros((READS, 2))
        for tile in range(2):
            inputs = x.numpy()[tile * 8 : tile * 8 + 8]
            base = columns[tile, : len(inputs)]
            cells = base + 0.1 * (1e-5 / step + base) * random.standard_normal((READS, *base.shape))
            if g.encoding.analog_pair:
                cells = cells[..., 0::2] - cells[..., 1::2]
            for sign in (1, -1):
                for k in range(3):
                    bits = np.where(sign * inputs > 0, abs(inputs), 0) >> k & 1
                    current = bits @ cells
                    if g.encoding.analog_reference:
                        current = current[:, : 2 * g.slices] - np.tile(current[:, 2 * g.slices :], 2)
                    codes = np.clip(np.round(current / adc.step[0].numpy()), adc.low, adc.high) * adc.step[0].numpy()
                    part = codes[:, : 2 * g.slices].reshape(READS, 2, g.slices) @ worth
                    if g.converted_references:
                        part -= codes[:, 2 * g.slices :] * worth[0]
                    total += sign * 2**k * part
        sampled = total - x.numpy() @ read_integers(matrix.mapped)[0].numpy().T
        assert abs(z_of_covariances(ours, sampled)).max() < 5

    def test_does_not_depend_on_how_vectors_are_cut(self) -> None:
        x = torch.randint(0, 8, (1, 50, 12), generator=torch.Generator().manual_seed(0)).double()
        whole, parts = (crossbar_matrix(self.chip(), 5, 12, 1, 5, False).double() for _ in range(2))
        assert torch.allclose(whole(x), torch.cat([parts(part) for part in x.split([3, 1, 20, 26], dim=1)], dim=1))

    def test_one_slice_is_one_read(self) -> None:
        chip = self.chip().with_changes(inputs={"bits": 1})
        x = torch.ones(1, 9, 12).double()
        apart = chip.with_changes(device={"read_noise_drawn": "each_read"})
        one, other = (crossbar_matrix(each, 5, 12, 1, 5, False).double()(x) for each in (chip, apart))
        assert torch.equal(one, other)

    def test_two_ways_to_say_how_long_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="both say how long a draw lasts"):
            self.chip(read_correlation_time=1e-6)
        with pytest.raises(ConfigurationError, match="needs read noise of the cells"):
            self.chip(read_noise_sigma=0.0)


class TestNothingBelowZero:
    """Cells whose noise would take them below 0 S conduct nothing: a rectified Gaussian."""

    def test_moments_by_sampling_and_by_closed_form(self) -> None:
        device = load_chip("isaac").device.model_copy(
            update={"g_min": 0.0, "g_max": 1.0, "read_noise_model": "independent", "read_noise_sigma": 0.1}
        )
        g = torch.tensor([0.0, 0.02, 0.1, 0.2, 0.9], dtype=torch.float64)
        mean, variance = device.read_moments(g)
        drawn = np.maximum(0, g.numpy() + 0.1 * np.random.default_rng(0).standard_normal((1_000_000, 5)))
        assert (abs(drawn.mean(0) - mean.numpy()) < 5 * drawn.std(0) / 1000).all()
        assert variance.numpy() == pytest.approx(drawn.var(0), rel=5 * (6 / 1e6) ** 0.5)
        assert mean[0].item() == pytest.approx(0.1 / (2 * np.pi) ** 0.5, rel=1e-12)
        assert variance[0].item() == pytest.approx(0.01 * (0.5 - 0.5 / np.pi), rel=1e-12)
        assert (mean[-1] - 0.9).abs() < 1e-18
        assert variance[-1].item() == pytest.approx(0.01, rel=1e-15)
        free = device.model_copy(update={"read_noise_above_zero": False})
        assert torch.equal(free.read_moments(g)[0], g)
        assert free.read_moments(g)[1].numpy() == pytest.approx(0.01)

    def test_the_product_has_those_moments(self) -> None:
        """A column of 12 empty cells: its mean and variance, |z| < 5."""
        chip = noisy_chip(2, 1, scheme="differential", subtraction="digital").with_changes(
            device={"g_min": 0.0, "read_noise_model": "independent"}
        )
        matrix = CrossbarMatrix(torch.zeros(1, 3, 12, dtype=torch.float64), chip, False, 3.0, torch.float64)
        found = matrix(torch.ones(1, READS, 12).double())[0]
        assert (found.mean(0).abs() < 5 * found.std(0) / READS**0.5).all(), "pairs shift alike"
        worth = sum(16.0**k for k in range(matrix.geometry.slices))
        expected = 12 * 2 * worth * (0.1 * 3) ** 2 * (0.5 - 0.5 / np.pi)
        assert found.var(0).numpy() == pytest.approx(expected, rel=5 * (2 / READS) ** 0.5)


def sensitivity(siemens: torch.Tensor, voltages: torch.Tensor, wires: Wires) -> torch.Tensor:
    """Change of each bitline's current per relative change of each cell, to first order and otherwise exactly:
    (vectors, rows, columns, bitlines). By reciprocity it is G times the cell's voltage times its voltage when the network
    is driven with 1 V at that bitline's sense end instead: solved on the array turned half round and transposed."""
    driven = solve(siemens, voltages, wires).cell_current
    turned = siemens.flip(0, 1).T.contiguous()
    backward = solve(turned, torch.eye(len(turned), dtype=torch.float64), wires).cell_current / turned
    return torch.einsum("vab,jab->vabj", driven, backward.flip(0).transpose(1, 2).flip(1, 2))


def array(size: int, g_max: float) -> torch.Tensor:
    """16 levels at random from g_max / 20 up."""
    levels = torch.randint(0, 16, (size, size), generator=torch.Generator().manual_seed(0)).double()
    return g_max * (0.05 + 0.95 * levels / 15)


def by_place(siemens: torch.Tensor, wires: Wires) -> torch.Tensor:
    """Effective over own conductance in an array whose cells all have the mean conductance."""
    mean = torch.full_like(siemens, siemens.mean().item())
    return effective_conductance(mean, wires) / mean


class TestWires:
    """With wire resistance the product scales a cell's noise by the (effective / own) conductance of its place in an array
    of the same mean conductance. Really a cell's change also moves the voltages of its neighbours, which damps the cell's
    own noise and takes current from other bitlines.

    Measured, noise proportional to G, all wordlines on (half of them on: std less, correlation up to
    -0.102), random levels: largest IR drop of a
    column, by how much the product overstates standard deviations (smallest and largest column), most negative
    correlation between two bitlines, of which the product has none; it never understates.

    array    g_max    segment  drop   std overstated    correlation
    32 x 32   25 uS    1 ohm    1 %   0.2 to 0.7 %      -0.001
    32 x 32   25 uS   10 ohm   10 %   2.3 to 6.4 %      -0.008
    32 x 32  100 uS    1 ohm    4 %   0.9 to 2.6 %      -0.003
    32 x 32  100 uS   10 ohm   31 %   8 to 23 %         -0.024
    32 x 32    1 mS    1 ohm   31 %   8 to 23 %         -0.024
    32 x 32    1 mS   10 ohm   83 %   36 to 148 %       -0.092
    64 x 64   25 uS    1 ohm    4 %   1.2 to 2.2 %      -0.002
    64 x 64   25 uS   10 ohm   31 %   11 to 20 %        -0.013
    64 x 64  100 uS    1 ohm   15 %   5 to 9 %          -0.006
    64 x 64  100 uS   10 ohm   65 %   29 to 62 %        -0.029
    64 x 64    1 mS    1 ohm   65 %   29 to 62 %        -0.029
    64 x 64    1 mS   10 ohm   96 %   37 to 344 %       -0.073

    Bounds that hold for all of them: 0.8 x drop up to a drop of 40 %, correlation 0.15 x drop.
    """

    @pytest.mark.parametrize("g_max", [25e-6, 100e-6, 300e-6, 1e-3])
    @pytest.mark.parametrize(("size", "segment"), [(32, 1.0), (32, 3.0), (32, 10.0), (64, 1.0), (64, 10.0)])
    def test_what_the_product_leaves_out(self, size: int, segment: float, g_max: float) -> None:
        siemens, wires = array(size, g_max), Wires(segment, segment)
        half = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(1)).double()
        voltages = torch.stack([torch.ones(size, dtype=torch.float64), half])
        effective = effective_conductance(siemens, wires)
        change = sensitivity(siemens, voltages, wires)
        for v in (0, 1):
            drop = (1 - voltages[v] @ effective / (voltages[v] @ siemens)).max().item()
            exact = torch.einsum("abi,abj->ij", change[v], change[v])
            std = exact.diag().sqrt()
            overstated = (voltages[v, :, None] * siemens * by_place(siemens, wires)).square().sum(0).sqrt() / std - 1
            correlation = exact / std / std[:, None] - torch.eye(size)
            assert overstated.min() > 0
            if drop < 0.4:
                assert overstated.max() < 0.8 * drop
            assert correlation.abs().max() < 0.15 * drop
            assert correlation.mean() < 0
            together = exact.sum() / exact.diag().sum()  # variance of the sum of all bitlines over that of none correlated
            assert 0.5 < together < 1

    def test_sampling_the_cells_and_solving_each_time_gives_the_same(self) -> None:
        """400 draws of 3 % on 32 x 32 cells of 1 mS over 3 ohm: the first-order covariance holds (mean square of z over
        528 figures 1 within 5 standard errors, counting bitlines as independent; false alarm 1e-6), the product's
        standard deviations do not (all columns over 10 % too large, 3.5 % a standard error)."""
        siemens, wires, draws = array(32, 1e-3), Wires(3.0, 3.0), 400
        on = torch.ones(1, 32, dtype=torch.float64)
        generator = torch.Generator().manual_seed(2)
        drawn = siemens * (1 + 0.03 * torch.randn(draws, 32, 32, generator=generator, dtype=torch.float64))
        sampled = np.cov((on @ effective_conductance(drawn, wires))[:, 0].T.numpy())
        change = sensitivity(siemens, on, wires)[0]
        exact = 0.03**2 * torch.einsum("abi,abj->ij", change, change).numpy()
        variance = np.diag(exact)
        z = (sampled - exact) / np.sqrt((exact**2 + np.outer(variance, variance)) / draws)
        upper = z[np.triu_indices(32)]
        assert (upper**2).mean() == pytest.approx(1, abs=5 * (2 / upper.size) ** 0.5)
        form = 0.03 * (siemens * by_place(siemens, wires)).square().sum(0).sqrt().numpy()
        assert (form / np.sqrt(np.diag(sampled)) > 1.1).all()

    def test_the_product_has_that_form(self) -> None:
        """A full 16 x 16 array of pairs: variance of each output from the cells and their places, z < 5 for eight sample
        variances (false alarm 5e-6)."""
        chip = noisy_chip(4, 1, scheme="differential").with_changes(wires={"wordline": 20.0, "bitline": 30.0, "sense": 5.0})
        matrix = crossbar_matrix(chip, 8, 16, 1, 5, False).double()
        siemens = matrix.array.conductances()[0, 0, 0]
        effective = effective_conductance(siemens, Wires(20.0, 30.0, 0.0, 5.0))
        assert (effective / siemens).min() < 0.85
        share = by_place(siemens, Wires(20.0, 30.0, 0.0, 5.0))
        own = (0.1 * siemens * share / matrix.device.level_step(4)).square().sum(0)
        product = matrix(torch.ones(1, READS, 16))[0].numpy()
        assert product.var(0) == pytest.approx((own[0::2] + own[1::2]).numpy(), rel=5 * (2 / READS) ** 0.5)
        mean = ((effective[:, 0::2] - effective[:, 1::2]) / matrix.device.level_step(4)).sum(0).numpy()
        assert (abs(product.mean(0) - mean) < 5 * product.std(0) / READS**0.5).all()
