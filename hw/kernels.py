"""Loops that numba compiles: of the functional model normals by counter, inputs to codes, and one pass from currents to sums of codes.

`xbar.hw.randomness`, `xbar.hw.analog.layers` and `xbar.hw.array.product` say the same in torch operations and are the reference; nothing
here is contracted or reordered, so that both give the same bits. Compiled on first use, once on a machine (some seconds), for whatever
vector registers it has.

Normals: the counter-based generator Philox4x32 with 7 rounds, the fewest with which it passes TestU01's BigCrush (J. Salmon, M. Moraes, R.
Dror, D. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011, with its constants), and the transform of G. Box and M. Muller (Annals
of Mathematical Statistics 29, 1958): of two words x and y of 32 bits, with u = (floor(x / 2) + 1) / 2^31 and an angle of pi t, t from -1/2
to 1/2 by 31 bits of y, and one more bit for its sign: sqrt(-2 ln u) times sine and cosine, 6.56 at most. Logarithm, sine and cosine are
Chebyshev interpolations of our own in float32, with the coefficients of `xbar.hw.randomness`, off by 9e-6 of their largest value at most:
ten thousand million normals would not show it.

One file: numba keeps what it compiled until the file of a function changes, and would not notice that another one has.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numpy import ndarray

from xbar.hw.randomness import COSINE, LOGARITHM, SINE

_inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")  # type: ignore[call-overload]


def _widened(typing: Any) -> Any:
    """Says of a function that its loops may use the widest vector registers: LLVM keeps to half of them on some processors."""

    def said(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), said


_wide: Any = intrinsic(_widened)

COUNTERS = 256  # of a group
GROUP = 4 * COUNTERS  # normals, which are made and used together: they stay in a core's first cache
NONE, AS_IS, SCALED, WHOLE, BY_DRIVE = range(5)  # how the variance of reads comes

_ONE, _INVERSE = np.float32(1), np.float32(2.0**-32)
_MULTIPLY_0, _MULTIPLY_1, _LOW, _HALF = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57), np.uint64(0xFFFFFFFF), np.uint64(32)
_KEY_0, _KEY_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_HALF_ROOT, _MANTISSA, _SIGN = np.int32(0x3F3504F3), np.int32(0x7FFFFF), np.int32(-0x80000000)  # float32 of sqrt(1/2), and parts of one
_LOG_2 = np.float32(-2 * np.log(2))
_L0, _L1, _L2, _L3, _L4, _L5 = (np.float32(each) for each in LOGARITHM)
_S0, _S1, _S2, _S3 = (np.float32(each) for each in SINE)
_C0, _C1, _C2, _C3 = (np.float32(each) for each in COSINE)


@_inner
def _words(words: ndarray, group: int, third: int, fourth: int, key_0: int, key_1: int) -> None:
    """Philox4x32-7 of a group's counters (low and high half of each, third, fourth) into four rows of words."""
    _wide()
    first = np.uint64(group * COUNTERS)
    for i in range(COUNTERS):
        a = first + np.uint64(i)
        b, c, d = a >> _HALF, np.uint64(third), np.uint64(fourth)
        k, m = np.uint64(key_0), np.uint64(key_1)
        for _ in range(7):
            p, q = _MULTIPLY_0 * (a & _LOW), _MULTIPLY_1 * (c & _LOW)
            a, c = (q >> _HALF) ^ b ^ k, (p >> _HALF) ^ d ^ m
            b, d = q, p
            k, m = k + _KEY_0, m + _KEY_1
        words[0, i], words[1, i], words[2, i], words[3, i] = np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d)


@_inner
def _normals(out: ndarray, variance: ndarray, words: ndarray, group: int, unit: int, place: int, key_0: int, key_1: int) -> None:
    """A group of normals times the square roots of `variance`; words (4, COUNTERS) uint32 is room."""
    _wide()
    _words(words, group, unit, place, key_0, key_1)
    signed = words.view(np.int32)
    for pair in range(2):
        x, y = words[2 * pair], signed[2 * pair + 1]
        begin, end = 2 * pair * COUNTERS, (2 * pair + 1) * COUNTERS
        sines, cosines, of_sines, of_cosines = out[begin:], out[end:], variance[begin:], variance[end:]
        for i in range(COUNTERS):
            u = np.float32(np.float32(np.int32(x[i] >> np.uint32(1))) + _ONE)
            from_half = np.int32(u.view(np.int32) - _HALF_ROOT)
            halvings = np.int32(np.int32(from_half >> np.int32(23)) - np.int32(31))
            f = np.int32((from_half & _MANTISSA) + _HALF_ROOT).view(np.float32) - _ONE
            log = ((((_L5 * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0
            radius = np.float32(np.sqrt(np.float32(halvings) * _LOG_2 + log * f))
            radius = np.int32(radius.view(np.int32) ^ (y[i] & _SIGN)).view(np.float32)
            t = np.float32(np.int32(y[i] << np.int32(1))) * _INVERSE
            s = t * t
            sines[i] = (radius * ((((_S3 * s + _S2) * s + _S1) * s + _S0) * t)) * np.sqrt(of_sines[i])
            cosines[i] = (radius * (((_C3 * s + _C2) * s + _C1) * s + _C0)) * np.sqrt(of_cosines[i])


@njit(cache=True, nogil=True, error_model="numpy")
def fill(out: ndarray, first: int, unit: int, place: int, key_0: int, key_1: int) -> None:
    """Normals from number `first` on of (key, unit, place) into `out`, float32 in one dimension."""
    _wide()
    words, ones, room = np.empty((4, COUNTERS), np.uint32), np.ones(GROUP, np.float32), np.empty(GROUP, np.float32)
    end = first + len(out)
    for group in range(first // GROUP, (end + GROUP - 1) // GROUP):
        begin, stop = max(first, group * GROUP), min(end, (group + 1) * GROUP)
        _normals(room, ones, words, group, unit, place, key_0, key_1)
        to, made = out[begin - first : stop - first], room[begin - group * GROUP :]
        for i in range(len(to)):
            to[i] = made[i]


@njit(cache=True, nogil=True, error_model="numpy")
def quantised(values: ndarray, codes: ndarray, unit: float, low: float, high: float, margin: float) -> tuple[int, int, int]:
    """Whole numbers of `unit` from low to high nearest to values, float32 in one dimension, into `codes`; how many quotients are not
    finite, how many whole numbers lie beyond low and high, and how many by more than `margin`."""
    _wide()
    one, least, most = np.float32(unit), np.float32(low), np.float32(high)
    below, above, largest = np.float32(low - margin), np.float32(high + margin), np.float32(np.finfo(np.float32).max)
    infinite, clipped, far = np.int32(0), np.int32(0), np.int32(0)
    for i in range(len(values)):
        scaled = values[i] / one
        whole = np.rint(scaled)
        infinite += np.int32(not abs(scaled) <= largest)
        clipped += np.int32((whole < least) | (whole > most))
        far += np.int32((whole < below) | (whole > above))
        codes[i] = min(max(whole, least), most)
    return int(infinite), int(clipped), int(far)


@njit(cache=True, nogil=True, error_model="numpy")
def slices(
    values: ndarray, codes: ndarray, marks: ndarray, begin: int, step: int, row: int, units: int, vectors: int, rows: int, width: int,
    count: int, passes: int, wrap: int, bipolar: bool, marked: bool,
) -> None:  # fmt: skip
    """Codes of `width` bits of whole-numbered values, `count` slices of each of the passes, least significant first, (units, passes x
    count, vectors, rows) in one dimension. Values stand in one dimension from `begin` on, `step` a unit and `row` a vector; `wrap` keeps
    the bits of two's complement. Where `marked`, codes of one bit follow, int8 (.., vectors, 2 x rows): 127 times their
    magnitudes, then these."""
    _wide()
    mask = np.int32(2**width - 1)
    for unit in range(units):
        for stream in range(passes * count):
            shift, negative = np.int32(width * (stream % count)), stream >= count
            for vector in range(vectors):
                start, to = begin + unit * step + vector * row, ((unit * passes * count + stream) * vectors + vector) * rows
                given, made = values[start : start + rows], codes[to : to + rows]
                if bipolar:
                    for i in range(rows):
                        value = np.int32(given[i])
                        code = np.int32((abs(value) >> shift) & mask)
                        made[i] = np.float32(-code if value < 0 else code)
                elif passes == 1:
                    for i in range(rows):
                        made[i] = np.float32(((np.int32(given[i]) & np.int32(wrap)) >> shift) & mask)
                else:
                    for i in range(rows):
                        value = np.int32(given[i])
                        value = max(np.int32(0), -value if negative else value)
                        made[i] = np.float32((value >> shift) & mask)
                if marked:
                    large, small = marks[2 * to : 2 * to + rows], marks[2 * to + rows : 2 * to + 2 * rows]
                    for i in range(rows):
                        mark = np.int8(abs(made[i]))
                        small[i] = mark
                        large[i] = np.int8(127) * mark


@_inner
def _repeated(values: ndarray, unit: int) -> ndarray:
    """A unit's values by tile and column (tiles, columns), again and again, for a group of columns that begins at any of them (tiles, ..);
    nothing of nothing."""
    tiles, _, columns = values.shape
    flat = np.empty((tiles, GROUP + columns if tiles else 0), np.float32)
    for tile in range(tiles):
        for start in range(0, GROUP + columns, columns):
            for i in range(min(columns, GROUP + columns - start)):
                flat[tile, start + i] = values[tile, unit, i]
    return flat


@_inner
def _added(sums: ndarray, current: ndarray, weight: float, lowest: float, highest: float, added: bool) -> None:
    """Codes of currents, times their weight, added to sums or in place of them."""
    _wide()
    if added:
        for i in range(len(sums)):
            sums[i] = sums[i] + min(max(np.rint(current[i]), lowest), highest) * weight
    else:
        for i in range(len(sums)):
            sums[i] = min(max(np.rint(current[i]), lowest), highest) * weight


@_inner
def _added_noisy(sums: ndarray, current: ndarray, noise: ndarray, weight: float, lowest: float, highest: float, added: bool) -> None:
    """`_added` of the sum of two currents."""
    _wide()
    if added:
        for i in range(len(sums)):
            sums[i] = sums[i] + min(max(np.rint(current[i] + noise[i]), lowest), highest) * weight
    else:
        for i in range(len(sums)):
            sums[i] = min(max(np.rint(current[i] + noise[i]), lowest), highest) * weight


@njit(cache=True, nogil=True, error_model="numpy")
def converted(
    total: ndarray, current: ndarray, variance: ndarray, whole: ndarray, scale: ndarray, floor: ndarray, offset: ndarray, factor: ndarray,
    weights: ndarray, keys: ndarray, numbers: ndarray, places: ndarray, columns: int, kind: int, added: bool, low: float, high: float,
    center: float, first: int, at: int, stride: int, vectors: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Currents of the reads of row tiles, with their noise, to codes, and these, times their weights, to `total`, in one pass.

    current (tiles, units, streams, vectors, columns) in one dimension, float32 [ADC steps]; of the vectors those from `start` to `stop`,
    the first of which in `total` is `at` + start, of `stride` a unit. added: else what total held is overwritten. kind of variance: NONE;
    AS_IS, in `variance` like current; SCALED, there in units of `scale` (tiles, units, columns); WHOLE, in `whole`, int32, in these units;
    BY_DRIVE, `variance` (tiles, units, streams, vectors) times scale. floor, offset, factor: (tiles, units, columns), added to variances,
    added to currents, multiplied with codes, or without elements. weights: of streams. Normals: keys (units, 2), numbers of units, places
    (tiles, streams), and `first`, the number of vector 0.
    """
    _wide()
    tiles, streams = places.shape
    units = len(numbers)
    words, code, sums = np.empty((4, COUNTERS), np.uint32), np.empty(GROUP, np.float32), np.empty(GROUP, total.dtype)
    variances, noise = np.zeros(GROUP, np.float32), np.empty(GROUP, np.float32)
    lowest, highest, middle = np.float32(low), np.float32(high), np.float32(center)
    plain = offset.size == 0 and factor.size == 0 and middle == 0
    begin, end = (first + start) * columns, (first + stop) * columns  # numbers of normals, and of currents
    for unit in range(units):
        scales, floors, offsets, factors = _repeated(scale, unit), _repeated(floor, unit), _repeated(offset, unit), _repeated(factor, unit)
        for group in range(begin // GROUP, (end + GROUP - 1) // GROUP):
            here, there = max(begin, group * GROUP), min(end, (group + 1) * GROUP)
            n, column, place, skipped = there - here, (here - begin) % columns, here - first * columns, here - group * GROUP
            to = (unit * stride + at) * columns + place
            held = total[to : to + n]
            if added:
                for i in range(n):
                    sums[i] = held[i]
            else:
                for i in range(n):
                    sums[i] = 0
            for tile in range(tiles):
                for stream in range(streams):
                    read = ((tile * units + unit) * streams + stream) * vectors
                    given, weight = current[read * columns + place : read * columns + place + n], weights[stream]
                    if kind == NONE and plain:
                        for i in range(n):
                            sums[i] = sums[i] + min(max(np.rint(given[i]), lowest), highest) * weight
                        continue
                    if kind == NONE:
                        for i in range(n):
                            code[i] = given[i]
                    else:
                        spread = variances[skipped : skipped + n]
                        if kind == WHOLE:
                            numbered, each = whole[read * columns + place : read * columns + place + n], scales[tile, column:]
                            for i in range(n):
                                spread[i] = np.float32(numbered[i]) * each[i]
                        elif kind == BY_DRIVE:
                            done = 0
                            while done < n:
                                row, left = (place + done) // columns, (column + done) % columns
                                some = min(n - done, columns - left)
                                drive, each, part = variance[read + row], scales[tile, left : left + some], spread[done : done + some]
                                for i in range(some):
                                    part[i] = drive * each[i]
                                done += some
                        elif kind == SCALED:
                            known, each = variance[read * columns + place : read * columns + place + n], scales[tile, column:]
                            for i in range(n):
                                spread[i] = known[i] * each[i]
                        else:
                            known = variance[read * columns + place : read * columns + place + n]
                            for i in range(n):
                                spread[i] = known[i]
                        if floors.size:
                            each = floors[tile, column:]
                            for i in range(n):
                                spread[i] = spread[i] + each[i]
                        _normals(noise, variances, words, group, numbers[unit], places[tile, stream], keys[unit, 0], keys[unit, 1])
                        own = noise[skipped : skipped + n]
                        if plain:
                            for i in range(n):
                                sums[i] = sums[i] + min(max(np.rint(given[i] + own[i]), lowest), highest) * weight
                            continue
                        for i in range(n):
                            code[i] = given[i] + own[i]
                    if offsets.size:
                        each = offsets[tile, column:]
                        for i in range(n):
                            code[i] = code[i] + each[i]
                    for i in range(n):
                        code[i] = min(max(np.rint(code[i] - middle) + middle, lowest), highest)
                    if factors.size:
                        each = factors[tile, column:]
                        for i in range(n):
                            code[i] = code[i] * each[i]
                    for i in range(n):
                        sums[i] = sums[i] + code[i] * weight
            for i in range(n):
                held[i] = sums[i]
