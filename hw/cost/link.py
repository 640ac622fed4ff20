"""Serial links between chips, by bandwidth."""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law

_BANDWIDTH = 25.6e9 * 8  # [bit/s] of ISAAC's four HyperTransport links
_POWER = 10.4  # [W]
_AREA = 22.88e-6  # [m²]


@law(
    cite="A. Shafiee et al., ISCA 2016 (ISAAC), Table I",
    read="transcribed; its HyperTransport numbers are those of DaDianNao",
    valid={"bandwidth": (1e6, 1e13), "idle_share": (0.0, 1.0)},
)
def link(*, bandwidth: float, idle_share: float = 1.0) -> Cost:
    """One bit sent over links of `bandwidth` [bit/s] together; area and static power (as leakage) in proportion to the
    bandwidth.

    ISAAC: 10.4 W and 22.88 mm² for 25.6 GB/s, 50.8 pJ a bit at full use, drawn always. `idle_share` is the share of that power
    which is drawn whether bits come or not; the rest is energy of the bits. The node has no part in it: drivers and lines are
    analog, and no source at hand tells how they follow. Time: 0, the bandwidth sets it. Band: downwards, since links of later
    years draw several times less (assumed; hwcomponents-library's 26 pJ per 128 bits of 65 nm, 0.004 of this, is doubtful and
    not in it).
    """
    return Cost(
        energy=(1 - idle_share) * _POWER / _BANDWIDTH,
        area=_AREA * bandwidth / _BANDWIDTH,
        leakage=idle_share * _POWER * bandwidth / _BANDWIDTH,
        energy_band=(0.1, 1.2),
        area_band=(0.1, 1.2),
    )
