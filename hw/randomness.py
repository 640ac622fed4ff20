"""Random numbers: generators by key, and normals by counter, the same however the work is cut or spread on threads.

torch's generator on the CPU takes 32 bits of a seed (torch 2.13): two keys give the same numbers with probability 2^-32. Normals by counter
take 64 bits of one. They are float32, in float64 as well; on the CPU `xbar.hw.kernels` makes them, elsewhere `counted_normals`, with the
same bits.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xbar.hw.errors import ParameterError

# Chebyshev interpolations in float64, of degrees 5, 3 and 3, rounded to float32: -2 ln(1 + f) / f from sqrt(1/2) - 1 to sqrt(2) - 1,
# sin(pi t) / t and cos(pi t) over t² from 0 to 1/4; the first coefficient is that of the power 0
LOGARITHM = (-2.00000739, 0.999789596, -0.665318131, 0.508667111, -0.439314157, 0.280432463)
SINE = (3.14159036, -5.16740561, 2.54400015, -0.55943501)
COSINE = (0.999993205, -4.93393135, 4.04121256, -1.22193646)

MOST_COUNTED = 2**24  # row tiles, and 2^8 reads: what one word of a counter tells
GROUP = 256  # counters, whose normals stand together
PART_VALUES = 2**16  # normals that a thread makes at least


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


@cache
def kernels() -> Any:
    """What numba compiled, `xbar.hw.kernels`; loading it takes half a second, once."""
    return import_module("xbar.hw.kernels")


def kernels_are_loaded() -> bool:
    """True where that time has been spent."""
    return "xbar.hw.kernels" in sys.modules


def words_of(key: int) -> tuple[int, int]:
    """A key's lower and upper 32 bits."""
    return key & 0xFFFFFFFF, key >> 32


class CountedNormals:
    """Standard normals for a sequence of vectors: the values of vector n depend on the key and n alone.

    Each vector has `columns` values in each of its units. read and tile tell sequences of one key apart. The counter-based generator and
    the transform are those of `xbar.hw.kernels`: normal number n x columns + column of a unit is one of the 1,024 that 256 counters make,
    whose words are their number (64 bits), the unit, and read x 2^24 + tile. No two of a key, unit, read and tile share a counter
    before 2^66 normals."""

    def __init__(self, key: int, columns: int, read: int = 0, tile: int = 0):
        if not (0 <= read < 2**8 and 0 <= tile < MOST_COUNTED):
            raise ParameterError(f"normals are counted for 256 reads of a vector and 2^24 row tiles, got read {read} and tile {tile}")
        self.columns, self.place = columns, read * MOST_COUNTED + tile
        self.keys = words_of(key)

    def fill(self, out: Tensor, first: int) -> None:
        """Fill `out` (units, vectors, columns), contiguous in its last two, for the vectors from number `first` on; on the CPU on as many
        threads as torch uses."""
        number = first * self.columns
        if out.device.type != "cpu":
            for unit, part in enumerate(out):
                part.copy_(counted_normals(self.keys, unit, self.place, number, part.numel(), out.device).view_as(part))
            return
        made = out if out.dtype == torch.float32 else torch.empty(out.shape)
        parts = [
            (flat[start:stop], number + start, unit)
            for unit, flat in enumerate(part.detach().view(-1).numpy() for part in made)
            for start, stop in parts_of(len(flat), PART_VALUES)
        ]
        fill = kernels().fill
        on_threads(lambda flat, start, unit: fill(flat, start, unit, self.place, *self.keys), parts)
        if made is not out:
            out.copy_(made)


def on_threads(do: Any, parts: list[tuple[Any, ...]]) -> None:
    """Call `do`, which lets go of Python's lock, with each of the parts, on as many threads as torch uses."""
    threads = min(torch.get_num_threads(), len(parts))
    if threads <= 1:
        for part in parts:
            do(*part)
        return
    list(_pool(os.getpid(), threads).map(lambda own: [do(*part) for part in own], [parts[i::threads] for i in range(threads)]))


def parts_of(count: int, least: int) -> list[tuple[int, int]]:
    """Beginnings and ends of as many parts of about equal size as torch uses threads, of `least` each at least."""
    parts = max(1, min(torch.get_num_threads(), count // least))
    return [(count * k // parts, count * (k + 1) // parts) for k in range(parts)]


def counted_normals(keys: tuple[int, int], unit: int, place: int, first: int, count: int, device: torch.device | str) -> Tensor:
    """Normals of one unit from number `first` on, (count,) float32, in torch operations on any device: what `xbar.hw.kernels` makes, bit by
    bit."""
    groups = torch.arange(first // (4 * GROUP), -(-(first + count) // (4 * GROUP)), device=device)
    counters = (groups.unsqueeze(1) * GROUP + torch.arange(GROUP, device=device)).flatten()
    a, b, c, d = (word.view(-1, GROUP) for word in philox(counters, unit, place, keys))
    made = torch.stack([*_transformed(a, b), *_transformed(c, d)], dim=1).flatten()  # (groups, 4, GROUP)
    skipped = first % (4 * GROUP)
    return made[skipped : skipped + count]


def philox(counters: Tensor, third: int, fourth: int, keys: tuple[int, int], rounds: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32's words, int64 from 0 to 2^32 - 1, of counters (int64) in its first two words and the two others (see
    `xbar.hw.kernels`)."""
    low = 0xFFFFFFFF
    a, b, c, d = counters & low, (counters >> 32) & low, torch.full_like(counters, third), torch.full_like(counters, fourth)
    for i in range(rounds):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57  # the low 64 bits, as int64 wraps
        a, b, c, d = (
            (q >> 32) & low ^ b ^ (keys[0] + i * 0x9E3779B9) & low, q & low,
            (p >> 32) & low ^ d ^ (keys[1] + i * 0xBB67AE85) & low, p & low,
        )  # fmt: skip
    return a, b, c, d


def _transformed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two normals of two words (int64), float32: Box and Muller's, see `xbar.hw.kernels`."""
    half = 0x3F3504F3  # sqrt(1/2)
    from_half = ((x >> 1).to(torch.int32).float() + 1).view(torch.int32) - half
    exponent = ((from_half >> 23) - 31).float() * float(np.float32(-2 * np.log(2)))
    f = ((from_half & 0x7FFFFF) + half).view(torch.float32) - 1
    radius = root(exponent + _polynomial(LOGARITHM, f) * f)
    radius = torch.where(y >= 2**31, -radius, radius)
    t = (((y & 0x7FFFFFFF) ^ 0x40000000) - 0x40000000).mul(2).to(torch.int32).float() * 2.0**-32
    square = t * t
    return radius * (_polynomial(SINE, square) * t), radius * _polynomial(COSINE, square)


def root(values: Tensor) -> Tensor:
    """Square roots, in place, rounded as IEEE 754 has it: torch's on the CPU are off in the last bit for one of 150 (2.13, MKL)."""
    if values.device.type != "cpu":
        return values.sqrt_()
    np.sqrt(values.numpy(), out=values.numpy())
    return values


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """By Horner's rule, each product and sum rounded."""
    value = torch.full_like(x, coefficients[-1])
    for each in coefficients[-2::-1]:
        value = value.mul(x).add(each)
    return value


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads for draws, one pool a process (a forked child must not use its parent's)."""
    return ThreadPoolExecutor(threads, thread_name_prefix="normals")
