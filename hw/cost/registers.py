"""Registers of a core or tile: files of a word side by side, as many as the width of what is read or written at once."""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.memory import KILOBYTE, register_file
from xbar.hw.cost.technology import NODES

WORD = 64.0  # [bit] of a file, at most; assumed, four of PUMA's words
SMALLEST, LARGEST = 256.0, 4 * KILOBYTE  # [bit] that the law of a file covers


@law(
    cite=register_file.law.cite,
    read=register_file.law.read,
    valid={"capacity": (1, 8192 * KILOBYTE), "width": (1, 2**20), "node": NODES, "clock": (1.0, 5e9)},
)
def register_bank(*, capacity: float, width: float, node: float, voltage: float | None = None, clock: float = 1e8) -> Cost:
    """`width` bits read from or written to registers that hold `capacity` [bit] in all.

    Files (`memory.register_file`) of at most 64 bits a word stand side by side, width/64 of them, each with its share of the
    capacity; a share above 4 KB is read at the energy of 4 KB, as of several files in turn, one below 32 B at that of 32 B.
    Area and leakage are in proportion to the bits. Band: the file's.
    """
    files = max(1.0, width / WORD)
    share = capacity / files
    file = register_file(capacity=min(max(share, SMALLEST), LARGEST), width=width / files, node=node, voltage=voltage, clock=clock)
    bits = max(share, SMALLEST) / min(max(share, SMALLEST), LARGEST) * files
    return Cost(file.energy * files, file.area * bits, file.leakage * bits, file.time, file.energy_band, file.area_band)
