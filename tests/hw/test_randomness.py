"""Normals by counter: their moments, tails and distribution, independence between counters, vectors, units, reads, tiles and keys, and
that nothing depends on how they are cut, or on where they are made. "z": over its standard error; |z| < 5 is left by chance once in 1.7
million."""

import itertools
from math import erfc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev, Polynomial, polynomial
from scipy import stats

from xbar.hw import ParameterError
from xbar.hw.randomness import (
    COSINE,
    GROUP,
    LOGARITHM,
    SINE,
    CountedNormals,
    counted_normals,
    generator_of,
    key_of,
    philox,
    root,
    words_of,
)

A_GROUP = 4 * GROUP  # normals that are made together


def normals(
    key: int, units: int, columns: int, vectors: int, first: int = 0, dtype: torch.dtype = torch.float32, read: int = 0, tile: int = 0
) -> np.ndarray:  # fmt: skip
    out = torch.empty(units, vectors, columns, dtype=dtype)
    CountedNormals(key, columns, read, tile).fill(out, first)
    return out.numpy()


def correlation_z(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.astype(float) * b).mean() * a.size**0.5)


class TestGenerator:
    def test_philox_gives_the_numbers_of_its_authors(self) -> None:
        """Known answers of Random123 (its tests/kat_vectors) for Philox4x32 with 7 and 10 rounds: counters and keys of zeros, of ones, and
        of the digits of pi."""
        pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
        ones = (0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2
        known = {
            7: ("5f6fb709 0d893f64 4f121f81 4f730a48", "5207ddc2 45165e59 4d8ee751 8c52f662", "4dfccaba 190a87f0 c47362ba b6b5242a"),
            10: ("6627e8d5 e169c58d bc57ac4c 9b00dbd8", "408f276d 41c83b0e a20bc7c6 6d5451fd", "d16cfe09 94fdcceb 5001e420 24126ea1"),
        }
        for rounds, answers in known.items():
            for (counter, key), answer in zip((((0,) * 4, (0,) * 2), ones, pi), answers, strict=True):
                both = torch.from_numpy(np.array([counter[0] | counter[1] << 32], np.uint64).view(np.int64))
                words = philox(both, counter[2], counter[3], key, rounds)
                assert " ".join(f"{int(word):08x}" for word in words) == answer

    @pytest.mark.parametrize(("key", "unit", "read", "tile", "first", "count"), [
        (0, 0, 0, 0, 0, 4 * A_GROUP), (2**63 - 1, 3, 255, 2**24 - 1, 7, 3000), (5, 1, 7, 2, 2**41 - 500, 1000),
    ])  # fmt: skip
    def test_compiled_and_torch_give_the_same_bits(self, key: int, unit: int, read: int, tile: int, first: int, count: int) -> None:
        """`counted_normals` serves other devices than the CPU."""
        ours = normals(key, unit + 1, 1, count, first, read=read, tile=tile)[unit, :, 0]
        theirs = counted_normals(words_of(key), unit, read * 2**24 + tile, first, count, "cpu")
        assert np.array_equal(ours, theirs.numpy())
        assert np.isfinite(ours).all()

    def test_interpolations(self) -> None:
        """The coefficients are those of Chebyshev interpolation in float64, and the functions are met to 9e-6 of their largest value."""
        low, high, x = np.sqrt(0.5) - 1, np.sqrt(2) - 1, np.linspace(0, 1, 10_001)
        for coefficients, function, ends in (
            (LOGARITHM, lambda f: np.where(abs(f) < 1e-8, -2, -2 * np.log1p(f) / np.where(f == 0, 1, f)), (low, high)),
            (SINE, lambda s: np.pi * np.sinc(np.sqrt(s)), (0, 0.25)), (COSINE, lambda s: np.cos(np.pi * np.sqrt(s)), (0, 0.25)),
        ):  # fmt: skip
            fitted = Chebyshev.interpolate(function, len(coefficients) - 1, domain=ends).convert(kind=Polynomial).coef
            assert np.allclose(np.float32(fitted), np.float32(coefficients), rtol=2e-7, atol=0)
            at = ends[0] + (ends[1] - ends[0]) * x
            assert abs(polynomial.polyval(at, coefficients) - function(at)).max() < 9e-6 * abs(function(at)).max()

    def test_roots_are_rounded_right(self) -> None:
        values = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 50
        expected = np.sqrt(values.double().numpy()).astype(np.float32)
        assert np.array_equal(root(values.clone()).numpy(), expected)

    def test_numbers_of_reads_and_tiles_are_checked(self) -> None:
        for read, tile in ((256, 0), (-1, 0), (0, 2**24), (0, -1)):
            with pytest.raises(ParameterError, match="256 reads"):
                CountedNormals(1, 4, read, tile)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 7, 100, 40_000])
def test_moments(columns: int, dtype: torch.dtype) -> None:
    """Two million values: mean, variance, skewness and kurtosis of a standard normal, |z| < 5 each (false alarm 2e-5 for
    all), and its tail beyond 4 sigma (63 in a million, Poisson, 5 sigma)."""
    values = normals(11, 2, columns, 10**6 // columns, dtype=dtype).astype(float).ravel()
    n = values.size
    assert abs(values.mean()) * n**0.5 < 5
    assert abs(values.var() - 1) * (n / 2) ** 0.5 < 5
    assert abs((values**3).mean()) * (n / 15) ** 0.5 < 5
    assert abs((values**4).mean() - 3) * (n / 96) ** 0.5 < 5
    beyond = 6.334e-5 * n
    assert abs((abs(values) > 4).sum() - beyond) < 5 * beyond**0.5


def test_tails_and_distribution() -> None:
    """Of 32 million as many beyond 3, 4, 4.5 and 5 sigma, each way, as there should be (9 at 5; Poisson, 5 sigma); of a million the
    distribution by Kolmogorov and Smirnov, p > 1e-4, and by chi square over 1,000 bins of equal share, p from 1e-4 to 1 - 1e-4."""
    values = normals(21, 1, 1000, 32_000).ravel()
    for sigma in (3, 4, 4.5, 5):
        expected = values.size * erfc(sigma / 2**0.5) / 2
        for found in ((values > sigma).sum(), (values < -sigma).sum()):
            assert abs(found - expected) < 5 * expected**0.5
    assert 5.3 < abs(values).max() < 6.6
    some = values[: 10**6].astype(float)
    assert stats.kstest(some, "norm").pvalue > 1e-4
    counts = np.bincount((stats.norm.cdf(some) * 1000).astype(int), minlength=1000)
    assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4


class TestIndependence:
    def test_neighbouring_counters_and_groups(self) -> None:
        """Numbers near and far in a group (two of a pair share a radius, 256 apart), and 64 groups with each other, place by place and
        shifted: |z| < 5.5 of 2016 pairs and 3 shifts (false alarm 2.3e-4)."""
        values = normals(5, 1, 1, 64 * A_GROUP).reshape(64, A_GROUP)
        for lag in (1, 2, 8, 16, 255, 256, 257, 512, 768):
            assert abs(correlation_z(values[:, lag:], values[:, :-lag])) < 5
            squares = (values.astype(float) ** 2 - 1) / 2**0.5
            assert abs(correlation_z(squares[:, lag:], squares[:, :-lag])) < 5, "a shared scale would show"
        for shift in (0, 1, 256):
            z = values @ np.roll(values, shift, axis=1).T / A_GROUP**0.5
            assert abs(z[np.triu_indices(64, 1)]).max() < 5.5
        assert abs(values.mean(1)).max() * A_GROUP**0.5 < 5

    def test_vectors_columns_and_units(self) -> None:
        """Lags in each direction, within and across groups."""
        values = normals(6, 5, 100, 4000)
        for lag in (1, 2, 10, 11, 327, 1024):
            assert abs(correlation_z(values[:, lag:], values[:, :-lag])) < 5
        for lag in (1, 2, 50):
            assert abs(correlation_z(values[..., lag:], values[..., :-lag])) < 5
        for a, b in itertools.combinations(range(5), 2):
            assert abs(correlation_z(values[a], values[b])) < 5
            assert abs(correlation_z(values[a, 327:], values[b, :-327])) < 5

    def test_reads_tiles_and_keys(self) -> None:
        """Words of a counter and of a key one apart, and keys of neighbouring seeds, layers and writes."""
        drawn = [normals(100, 1, 64, 1024, read=read, tile=tile) for read in range(4) for tile in range(4)]
        drawn += [normals(key, 1, 64, 1024) for key in (101, 102, 100 + 2**32, 100 + 2**33)]
        drawn += [normals(key_of(*parts), 1, 64, 1024) for parts in itertools.product((0, 1), repeat=4)]
        rows = np.stack([each.ravel() for each in drawn])
        for values in (rows, (rows.astype(float) ** 2 - 1) / 2**0.5):
            z = values @ values.T / rows.shape[1] ** 0.5
            assert abs(z[np.triu_indices(len(rows), 1)]).max() < 5.5


class TestCuts:
    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_values_depend_on_key_and_vector_alone(self, data: st.DataObject) -> None:
        """Any split in runs, any order of runs, starting anywhere."""
        units, columns = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 3, 100, A_GROUP, 5000, 40_000]))
        vectors = data.draw(st.integers(1, min(300, 200_000 // columns)))
        first = data.draw(st.sampled_from([0, 1, 5, 326, 327, A_GROUP - 1, 10**7 + 3, 2**40]))
        cuts = sorted(data.draw(st.lists(st.integers(0, vectors), max_size=4)))
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
        whole = normals(3, units, columns, vectors, first, dtype)
        runs = [(a, b) for a, b in itertools.pairwise([0, *cuts, vectors]) if b > a]
        for a, b in data.draw(st.permutations(runs)):
            assert np.array_equal(normals(3, units, columns, b - a, first + a, dtype), whole[:, a:b])

    def test_threads_and_neighbours_in_memory(self) -> None:
        """The same on one thread and on three, in float64, and in a slice of a larger tensor, which is left alone elsewhere."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = normals(4, 3, 100, 3000)
            torch.set_num_threads(3)
            assert np.array_equal(normals(4, 3, 100, 3000), one)
        finally:
            torch.set_num_threads(before)
        assert np.array_equal(normals(4, 3, 100, 3000, dtype=torch.float64), one)
        large = torch.full((5, 3000, 100), 7.0)
        CountedNormals(4, 100).fill(large[1:4], 0)
        assert np.array_equal(large[1:4].numpy(), one)
        assert bool((large[[0, 4]] == 7).all())

    def test_torchs_own_generator_is_left_alone(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        normals(4, 3, 100, 1000)
        generator_of(1, 2)
        assert torch.equal(torch.rand(3), expected)


class TestKeys:
    def test_keys_differ(self) -> None:
        """All (seed, layer, purpose, write): with 63 bits a chance collision is 1e-10 likely."""
        parts = itertools.product(range(20), range(20), range(5), range(20))
        keys = [key_of(*each) for each in parts]
        assert len(set(keys)) == len(keys) == 40_000
        assert min(keys) >= 0
        assert max(keys) < 2**63

    def test_order_and_size_matter(self) -> None:
        keys = [
            key_of(*each) for each in (
                (1, 2), (2, 1), (1, 2, 3), (2**32,), (2**32, 7), (0, 1, 7), (0, 1), (7, 2**32), (7, 0, 1), (7 + 2**32,),
                (7 + 2**32, 5), (7, 1, 5), (2**40, 1), (2**63, 1), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0, 1),
            )
        ]  # fmt: skip
        assert len(set(keys)) == len(keys)

    def test_the_same_parts_the_same_key_in_every_process(self) -> None:
        """Pinned, so that a result can be drawn again with later releases."""
        assert key_of(0) == int(np.random.SeedSequence([0]).generate_state(1, np.uint64)[0]) >> 1
        assert key_of(3, 1, 4) == int(np.random.SeedSequence([3, 1, 4]).generate_state(1, np.uint64)[0]) >> 1

    def test_below_0_is_refused(self) -> None:
        with pytest.raises(ParameterError, match="0 or more"):
            key_of(1, -1)

    def test_generators_differ(self) -> None:
        drawn = torch.stack([torch.randn(4096, generator=generator_of(s, layer, w), dtype=torch.float64)
                             for s in range(3) for layer in range(3) for w in range(3)])  # fmt: skip
        z = drawn @ drawn.T / 64
        assert z.triu(1).abs().max() < 5.5
