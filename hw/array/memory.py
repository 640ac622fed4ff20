"""What a matrix on crossbars takes of this computer's memory, told before anything is made."""

from math import prod

from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.fused import whole_products
from xbar.hw.array.geometry import Geometry

LEVEL, CELL, DRAWN, INTEGER = 1, 4, 8, 8  # bytes: of an int8 level, a float32 ready to be read, a float64 as written, an exact weight
DIGITS = 2  # bytes of a cell's read noise in whole numbers, which add up where inputs come bit by bit
COUNT = 4  # bytes of the same as a float32, kept beside them by computers that do not multiply int8


def bytes_held(design: ArrayDesign, geometry: Geometry, instances: int = 1) -> int:
    """Bytes that one matrix holds beside its weights once it has been read, for `instances` chips.

    Levels of all cells; where cells err, what each holds, and what it drifts by; ready for the product, a float32 for each cell (a pair
    that is subtracted before the ADC is one) and another for its read noise, with inputs bit by bit also in whole numbers, which take
    more on computers without instructions for products of int8 (`xbar.hw.array.fused.whole_products`). Where sums are exact, the
    whole-numbered weights in place of the last two (counted as float64, which they are unless float32 holds their sums). Left out:
    layouts, ranges, calibration inputs, what one forward takes. tests/hw/test_memory.py holds it against converted layers.
    """
    cells = geometry.cells
    columns = cells // 2 if geometry.encoding.analog_pair else cells
    device = design.device
    weights = prod(geometry.of_layer.shape)
    held = LEVEL * cells
    if not device.is_ideal:
        states = bool(device.telegraph_share) + bool(device.stuck_on_rate or device.stuck_off_rate)
        held += instances * cells * (DRAWN * (1 + device.drifts) + LEVEL * states)
    exact = device.is_ideal and design.wires.ideal and not design.adc.has_errors
    if exact:
        held += INTEGER * weights
    else:
        held += instances * columns * CELL * (2 if device.has_read_noise else 1)
        if device.has_read_noise and device.read_noise_drawn == "each_read" and design.dac.bits == 1:
            held += instances * columns * (DIGITS if whole_products() else DIGITS + COUNT)
    return int(held)
