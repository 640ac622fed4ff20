"""Memory on other chips, by kind."""

from collections.abc import Mapping
from types import MappingProxyType

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.errors import ParameterError, did_you_mean

# [J/bit] read or written, interface included
ENERGY: Mapping[str, float] = MappingProxyType(
    {
        "LPDDR4": 8e-12, "LPDDR": 40e-12, "DDR3": 70e-12, "HBM2": 6.25e-12, "HBM3": 4.05e-12, "HBM4": 3.2e-12,
    }
)  # fmt: skip


@law(
    cite="constants of Accelergy's libraries",
    read="hwcomponents-library 8b56f7e and accelforge 1c1929c; where they come from was not followed",
    valid={},
)
def dram(*, kind: str) -> Cost:
    """One bit read from or written to DRAM of `kind`, a name in `ENERGY`; no area on this chip.

    Band: assumed. Not modelled: refresh and idle power of the DRAM chips, time. Raises ParameterError for an unknown kind.
    """
    if kind not in ENERGY:
        raise ParameterError(f"law dram: kind = {kind!r} is none of {', '.join(ENERGY)}{did_you_mean(kind, ENERGY)}")
    return Cost(energy=ENERGY[kind], area=0.0, energy_band=(0.5, 2.0))
