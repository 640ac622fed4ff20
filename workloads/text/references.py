"""What foretells a text without a network, to set a language model against: general compressors, and counts of what followed."""

import bz2
import lzma
import math
from collections import Counter, defaultdict

from xbar.workloads.text.data import VOCABULARY, TextData, decode


def compressed_bits(data: TextData) -> dict[str, float]:
    """Bits per character that bz2 and lzma take for the test part when they have had the train part before: what a file of both
    is larger by. bz2 sorts blocks of 900,000 bytes, so that both parts are in one."""
    train, test = decode(data.train).encode(), decode(data.test).encode()
    found = {}
    for name, compress in (("bz2", lambda raw: bz2.compress(raw, 9)), ("lzma", lambda raw: lzma.compress(raw, preset=9))):
        found[name] = 8 * (len(compress(train + test)) - len(compress(train))) / len(data.test)
    return found


def ngram_bits(data: TextData, order: int) -> float:
    """Bits per character of the test windows by counts, in the train part, of what follows the `order` characters before.

    Orders are mixed down to 0 as I. H. Witten and T. C. Bell have it (IEEE Transactions on Information Theory 37, 1991, method C): what
    a context has seen counts as often as it was seen, the next shorter context as often as it saw different signs; below order
    0 all signs are alike. As in a language model's windows, no context reaches back beyond the window's first input.
    """
    tokens = data.train.tolist()
    counts: list[defaultdict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order + 1)]
    for place, token in enumerate(tokens):
        for length in range(min(order, place) + 1):
            counts[length][tuple(tokens[place - length : place])][token] += 1
    totals = [{context: seen.total() for context, seen in level.items()} for level in counts]
    inputs, targets = data.test_windows
    bits, number = 0.0, 0
    for before, after in zip(inputs.tolist(), targets.tolist(), strict=True):
        for place, token in enumerate(after):
            probability = 1 / len(VOCABULARY)
            for length in range(min(order, place + 1) + 1):
                context = tuple(before[place + 1 - length : place + 1])
                seen = counts[length].get(context)
                if seen is None:
                    break
                probability = (seen[token] + len(seen) * probability) / (totals[length][context] + len(seen))
            bits -= math.log2(probability)
            number += 1
    return bits / number
