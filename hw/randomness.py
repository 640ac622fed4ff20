"""Random numbers: generators by key, and normals by counter, the same however the work is cut or spread on threads.

torch's generator on the CPU takes 32 bits of a seed (torch 2.13). Two keys give the same numbers with probability 2^-32, two
sequences of B blocks share blocks, shifted, with probability B / 2^31; one sequence repeats none before 2^32. The normals
differ between float64 and float32.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from xbar.hw.errors import ParameterError

BLOCK_VALUES = 2**15  # normals in one block: large against the cost of a generator, small against a core's cache
_WEYL = 0x9E3779B9  # odd, so that block -> seed is one to one; 2^32 over the golden ratio, which spreads neighbours


def key_of(*parts: int) -> int:
    """A 63-bit key of whole numbers from 0 on, by numpy's SeedSequence, which takes up to four parts and 0 after them for
    the same."""
    if min(parts) < 0:
        raise ParameterError(f"a seed must be 0 or more, got {min(parts)}")
    low, high = [part & 0xFFFFFFFF for part in parts], [part >> 32 for part in parts]
    # 32 bits a part, the rest apart and marked: numpy takes a part of 64 bits for two parts
    sequence = np.random.SeedSequence(low, spawn_key=(*high, 0xFFFFFFFF) if any(high) else ())
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_of(*parts: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for that key."""
    return torch.Generator(device).manual_seed(key_of(*parts))


class CountedNormals:
    """Standard normals for a sequence of vectors: the values of vector n depend on key and n alone.

    Each vector has `units` rows of `columns` values. A block is `block` vectors of one unit, drawn by a generator of
    its own, seeded with the key's 32 low bits plus the block's number times an odd constant: blocks of one key never
    share a seed. Blocks are drawn on as many threads as torch uses.
    """

    def __init__(self, key: int, units: int, columns: int):
        self.key, self.units, self.columns = key, units, columns
        self.block = max(1, BLOCK_VALUES // columns)

    def fill(self, out: Tensor, first: int) -> None:
        """Fill `out` (units, vectors, columns), contiguous in its last two, for the vectors from number `first` on."""
        vectors = out.shape[1]
        pieces = [
            (unit, number, max(first, number * self.block), min(first + vectors, (number + 1) * self.block))
            for unit in range(self.units)
            for number in range(first // self.block, -(-(first + vectors) // self.block))
        ]
        threads = min(torch.get_num_threads(), len(pieces))
        if threads == 1 or out.is_cuda:
            self._draw(out, first, pieces)
            return
        list(_pool(os.getpid(), threads).map(lambda part: self._draw(out, first, part), [pieces[i::threads] for i in range(threads)]))

    def _draw(self, out: Tensor, first: int, pieces: list[tuple[int, int, int, int]]) -> None:
        generator = torch.Generator(out.device)
        for unit, number, start, stop in pieces:
            generator.manual_seed((self.key + (number * self.units + unit) * _WEYL) & 0xFFFFFFFF)
            place = out[unit, start - first : stop - first]
            if stop - start == self.block and place.is_contiguous():
                place.normal_(generator=generator)
            else:  # part of a block: a shorter draw would not give the same numbers
                whole = torch.empty(self.block, self.columns, dtype=out.dtype, device=out.device)
                skipped = start - number * self.block
                place.copy_(whole.normal_(generator=generator)[skipped : skipped + stop - start])


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads for draws, one pool a process (a forked child must not use its parent's)."""
    return ThreadPoolExecutor(threads, thread_name_prefix="normals")
