"""One tile of a chip: what wire resistance takes, and the netlist with which any SPICE can check it."""

import torch

from xbar import load_chip
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.parasitics import Wires, solve
from xbar.hw.array.spice import write_netlist

chip = load_chip("edge", device="pcm").with_changes(wires={"wordline": 2.0, "bitline": 2.0})
weight = torch.randn(1, 8, 24, generator=torch.Generator().manual_seed(0))
cells = CrossbarMatrix(weight, chip, signed_input=False).crossbar_conductances()
tile = cells[0, 0, 0, 0, 0]  # instance, group, plane, row tile, column tile: (wordlines, bitlines) in siemens

wires = Wires(wordline=2.0, bitline=2.0)
voltages = torch.full((tile.shape[0],), 0.2, dtype=torch.float64)
found = solve(tile, voltages.unsqueeze(0), wires)
ideal = voltages @ tile
print(f"current of the first bitline {found.bitline_current[0, 0] * 1e6:.3f} µA, over ideal wires {ideal[0] * 1e6:.3f} µA")
power, lost = found.source_power.item(), found.wire_power.item()
print(f"power {power * 1e6:.2f} µW, of which {100 * lost / power:.2f} % in wires")
write_netlist("tile.cir", tile, voltages, wires)
print("ngspice -b tile.cir prints the same currents")
