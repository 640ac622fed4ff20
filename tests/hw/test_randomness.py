"""Normals by counter: their moments, independence between blocks, vectors, units and keys, and that nothing depends on how
they are cut. "z": over its standard error; |z| < 5 is left by chance once in 1.7 million."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.hw import ParameterError
from xbar.hw.randomness import BLOCK_VALUES, CountedNormals, generator_of, key_of


def normals(key: int, units: int, columns: int, vectors: int, first: int = 0, dtype: torch.dtype = torch.float32) -> np.ndarray:
    out = torch.empty(units, vectors, columns, dtype=dtype)
    CountedNormals(key, units, columns).fill(out, first)
    return out.numpy()


def correlation_z(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.astype(float) * b).mean() * a.size**0.5)


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


class TestIndependence:
    def test_neighbouring_blocks(self) -> None:
        """64 blocks with seeds one step apart: every pair of blocks, place by place and shifted by one and by a generator's
        state (624 words); 2016 pairs and 3 shifts, |z| < 5.5 (false alarm 2.3e-4)."""
        blocks = normals(5, 1, 1, 64 * BLOCK_VALUES).reshape(64, BLOCK_VALUES)
        for shift in (0, 1, 624):
            shifted = np.roll(blocks, shift, axis=1)
            z = blocks @ shifted.T / BLOCK_VALUES**0.5
            assert abs(z[np.triu_indices(64, 1)]).max() < 5.5
        assert abs(blocks.mean(1)).max() * BLOCK_VALUES**0.5 < 5

    def test_vectors_columns_and_units(self) -> None:
        """Lags in each direction, within and across blocks (a block is 327 vectors of 100 values)."""
        values = normals(6, 5, 100, 4000)
        for lag in (1, 2, 326, 327, 328, 654):
            assert abs(correlation_z(values[:, lag:], values[:, :-lag])) < 5
        for lag in (1, 2, 50):
            assert abs(correlation_z(values[..., lag:], values[..., :-lag])) < 5
        for a, b in itertools.combinations(range(5), 2):
            assert abs(correlation_z(values[a], values[b])) < 5
            assert abs(correlation_z(values[a, 327:], values[b, :-327])) < 5

    def test_squares_are_as_independent(self) -> None:
        """Correlation of magnitudes, which a shared scale would show."""
        squares = (normals(7, 2, 64, 8192).astype(float) ** 2 - 1) / 2**0.5
        assert abs(correlation_z(squares[0], squares[1])) < 5
        assert abs(correlation_z(squares[:, 1:], squares[:, :-1])) < 5
        assert abs(correlation_z(squares[:, 512:], squares[:, :-512])) < 5  # a block on

    def test_keys(self) -> None:
        """Keys one apart, and of neighbouring seeds, layers and reads."""
        keys = [100, 101, 102, *(key_of(*parts) for parts in itertools.product((0, 1), repeat=4))]
        drawn = np.stack([normals(key, 1, 64, 1024).ravel() for key in keys])
        z = drawn @ drawn.T / drawn.shape[1] ** 0.5
        assert abs(z[np.triu_indices(len(keys), 1)]).max() < 5.5

    def test_blocks_of_one_key_never_repeat(self) -> None:
        """First values of blocks near and far (the seed's step is odd, so 2^32 of them differ)."""
        width = BLOCK_VALUES
        first = {normals(9, 4, width, 8, first=start, dtype=torch.float64)[unit, vector, 0]
                 for start in (0, 8, 10**8) for unit in range(4) for vector in range(8)}  # fmt: skip
        assert len(first) == 3 * 32


class TestCuts:
    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_values_depend_on_key_and_vector_alone(self, data: st.DataObject) -> None:
        """Any split in runs, any order of runs, starting anywhere."""
        units, columns = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 3, 100, 5000, BLOCK_VALUES, 40_000]))
        vectors = data.draw(st.integers(1, min(300, 200_000 // columns)))
        first = data.draw(st.sampled_from([0, 1, 5, 326, 327, BLOCK_VALUES - 1, 10**7 + 3]))
        cuts = sorted(data.draw(st.lists(st.integers(0, vectors), max_size=4)))
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
        whole = normals(3, units, columns, vectors, first, dtype)
        runs = [(a, b) for a, b in itertools.pairwise([0, *cuts, vectors]) if b > a]
        for a, b in data.draw(st.permutations(runs)):
            assert np.array_equal(normals(3, units, columns, b - a, first + a, dtype), whole[:, a:b])

    def test_threads_and_neighbours_in_memory(self) -> None:
        """The same on one thread and on two, and in a slice of a larger tensor, which is left alone elsewhere."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = normals(4, 3, 100, 1000)
            torch.set_num_threads(2)
            assert np.array_equal(normals(4, 3, 100, 1000), one)
        finally:
            torch.set_num_threads(before)
        large = torch.full((5, 1000, 100), 7.0)
        CountedNormals(4, 3, 100).fill(large[1:4], 0)
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
