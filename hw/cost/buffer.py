"""The buffer of a tile as SRAM: as many words written as read."""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.memory import sram_read, sram_write

VALID = {name: ends for name, ends in sram_read.law.valid.items() if name != "fast_share"}


@law(cite=sram_read.law.cite, read=sram_read.law.read, valid=VALID)
def sram(*, capacity: float, width: float, node: float, voltage: float | None = None, clock: float = 1e8) -> Cost:
    """A word of `width` moved in or out of an SRAM of `capacity` [bit], the mean of reading and writing. Band: CACTI's."""
    read = sram_read(capacity=capacity, width=width, node=node, voltage=voltage, clock=clock)
    written = sram_write(capacity=capacity, width=width, node=node, voltage=voltage, clock=clock)
    return Cost((read.energy + written.energy) / 2, read.area, read.leakage, read.time, read.energy_band, read.area_band)
