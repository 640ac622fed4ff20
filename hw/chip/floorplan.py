"""Where things lie on a chip, and how long its wires are: square tiles around routers, routers in a near-square grid.

A tile is a square of its own area. The tiles that share a router form a block around it, blocks lie as the routers of the
mesh do (`router_places`), links in a strip along one edge. A convention of ours that gives wires a length; no publication
tells the layout of its chip. Space left by the last, incomplete row is counted in the outline and not in the chip's area.
"""

from dataclasses import dataclass
from math import ceil, isqrt
from typing import TYPE_CHECKING

from xbar.hw.later import Later

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")



@dataclass(frozen=True)
class FloorPlan:
    """Outline of a chip of equal square tiles.

    tiles; tiles_per_router; tile_side [m] without its share of a router; router_area, link_area [m²] (of one router, of all links).
    """

    tiles: int
    tiles_per_router: int
    tile_side: float
    router_area: float
    link_area: float

    @property
    def routers(self) -> int:
        """Routers of the mesh."""
        return ceil(self.tiles / self.tiles_per_router)

    @property
    def columns(self) -> int:
        """Blocks side by side."""
        return isqrt(self.routers - 1) + 1

    @property
    def block_columns(self) -> int:
        """Tiles side by side around a router."""
        return isqrt(self.tiles_per_router - 1) + 1

    @property
    def block(self) -> tuple[float, float]:
        """Width and height of the tiles around a router, with a strip for it [m]."""
        width = self.block_columns * self.tile_side
        return width, ceil(self.tiles_per_router / self.block_columns) * self.tile_side + self.router_area / width

    @property
    def hop_length(self) -> float:
        """Wire between neighbouring routers [m]: the mean of a step to the side and a step up."""
        return sum(self.block) / 2

    @property
    def outline(self) -> tuple[float, float]:
        """Width and height of the chip [m]."""
        width = self.columns * self.block[0]
        return width, ceil(self.routers / self.columns) * self.block[1] + self.link_area / width

    def table(self) -> "pd.DataFrame":
        """Every tile, router and the strip of links: kind, number, and left, bottom, width, height [m]."""
        width, height = self.block
        strip, places = self.link_area / self.outline[0], router_places(self.routers, self.columns)
        rows = []
        for router in range(self.routers):
            column, row = places[router]
            left, bottom = column * width, strip + row * height
            if self.router_area:
                thick = self.router_area / width
                rows.append(("router", router, left, bottom + height - thick, width, thick))
            for place in range(min(self.tiles_per_router, self.tiles - router * self.tiles_per_router)):
                x, y = place % self.block_columns, place // self.block_columns
                tile = router * self.tiles_per_router + place
                rows.append(("tile", tile, left + x * self.tile_side, bottom + y * self.tile_side, self.tile_side, self.tile_side))
        if strip:
            rows.append(("link", 0, 0.0, 0.0, self.outline[0], strip))
        return pd.DataFrame(rows, columns=["kind", "number", "left_m", "bottom_m", "width_m", "height_m"])


def router_places(routers: int, width: int) -> list[tuple[int, int]]:
    """(column, row) of each router in a grid of `width` columns: in bands of several rows, column after column, every other
    band from the far end. Neighbours in number are near in both directions, and several links lead from some to the next."""
    rows = ceil(routers / width)
    height = min(rows, isqrt(width) + (width > 1))
    places = []
    for router in range(routers):
        band, inside = divmod(router, height * width)
        here = min(height, rows - band * height)
        column, row = divmod(inside, here)
        places.append((width - 1 - column if band % 2 else column, band * height + row))
    return places
