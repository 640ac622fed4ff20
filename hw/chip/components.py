"""The components of a chip: which there are, what acts in them, and what a chip file may say of each."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xbar.hw.array.converter import Adc, Dac
from xbar.hw.array.design import CellError
from xbar.hw.cost.component import Component, CountedComponent
from xbar.hw.quantity import Unit

CORE_COMPONENTS = (
    "dac", "gate_driver", "crossbar", "sample_hold", "multiplexer", "adc", "shift_add", "input_register", "output_register",
)  # fmt: skip
TILE_COMPONENTS = (
    "buffer", "bus", "router", "mesh_wires", "activation", "accumulator", "pool", "multiplier", "product", "tile_register",
)  # fmt: skip
CHIP_COMPONENTS = ("link",)
COMPONENTS = CORE_COMPONENTS + TILE_COMPONENTS + CHIP_COMPONENTS

ACTIONS = {
    "dac": "wordline drives", "gate_driver": "gate lines switched", "crossbar": "array reads",
    "sample_hold": "bitline samples", "multiplexer": "columns switched",
    "adc": "conversions", "shift_add": "shift-and-adds", "input_register": "bits streamed out",
    "output_register": "updates", "buffer": "bits moved", "bus": "bits moved", "router": "bits routed",
    "mesh_wires": "bits moved",
    "activation": "values", "accumulator": "additions", "pool": "values", "multiplier": "multiplications",
    "product": "multiply-accumulates", "tile_register": "values", "link": "bits moved",
}  # fmt: skip

SRAM_LAWS = ("charge", "discharge")  # of arrays that compute in charge, without memristors


class CrossbarArray(Component):
    """The arrays; one action is one read of an array, of all its wordlines or of those driven at once.

    law: "array" of cells with an access transistor each (1T1R), or "crosspoint" of cells at the crossings of lines alone (0T1R),
    whose wordlines have no gates to charge; or of SRAM cells without any memristor (`xbar.hw.cost.charge`): "charge", a capacitor a
    computing bit, or "discharge", read ports on bitlines. A cell of these holds `cell_bits` SRAM bits whose charges are weighed before
    the ADC, and rows that are not driven at once share what computes and drivers. rows_at_once: wordlines driven in one read, a
    divisor of `structure.wordlines`; the others follow in reads of their own, each converted. Without it all of them. fed_at: supply that
    the cells' current comes from, where a source follower, clamp or mirror holds the read voltage; without it that voltage itself.
    least_resistance: of a cell, that access transistors are made for; without it 1/g_max of the device, what cells are written to.
    cell_error: see `xbar.hw.array.design.CellError`.
    """

    law: Literal["array", "crosspoint", "charge", "discharge"] = "array"
    rows_at_once: Annotated[int | None, Unit("1"), Field(ge=1, le=65536)] = None
    fed_at: Annotated[float | None, Unit("V", banded=True), Field(gt=0, le=5)] = None
    least_resistance: Annotated[float | None, Unit("ohm"), Field(ge=1e2, le=1e9)] = None
    cell_error: CellError = CellError()

    @property
    def in_charge(self) -> bool:
        """True for SRAM cells that compute in charge: no memristors, no conductance."""
        return self.law in SRAM_LAWS


class GateDriver(Component):
    """Drivers of the lines that switch cells on, one a wordline, where they are apart from those that carry the inputs (`dac`)."""

    law: Literal["gate_line"] = "gate_line"


class SampleHold(Component):
    """One sample-and-hold a bitline."""

    law: Literal["sample_hold"] = "sample_hold"


class Multiplexer(Component):
    """Switches that put the columns of an ADC on it in turn, one set an ADC."""

    law: Literal["multiplexer"] = "multiplexer"


class ShiftAdd(CountedComponent):
    """Merges the conversions of input and weight slices; by default one an ADC, at its rate.

    law: "shift_add", the arithmetic alone, or "datapath", a near-memory datapath whose registers are clocked all the time.
    """

    law: Literal["shift_add", "datapath"] = "shift_add"
    units: Annotated[int | None, Unit("1"), Field(ge=1)] = None  # type: ignore[assignment]


class Register(Component):
    """Registers as large as what they hold: inputs of a core, results of a core, partial sums of a tile."""

    law: Literal["register_bank"] = "register_bank"


class Buffer(Component):
    """The tile's memory of `timing.buffer_size`, `timing.buffer_width` a clock."""

    law: Literal["sram", "edram"] = "edram"
    banks: Annotated[int | None, Unit("1"), Field(ge=1, le=1024)] = None

    @model_validator(mode="after")
    def _check_banks(self) -> "Buffer":
        if self.banks is not None and self.law != "edram":
            raise ValueError(f"banks = {self.banks} is without effect: the law {self.law} knows no banks")
        return self


class Bus(Component):
    """`timing.bus_width` wires between the buffer and the cores of a tile, as long as the tile's side."""

    law: Literal["bus"] = "bus"


class Router(Component):
    """A router of the mesh, `timing.flit_width` bits a clock and port; shared_by: tiles that share one."""

    law: Literal["router"] = "router"
    shared_by: Annotated[int, Unit("1"), Field(ge=1)] = 1
    ports: Annotated[int, Unit("1"), Field(ge=3, le=64)] = 5

    @model_validator(mode="after")
    def _check_ports(self) -> "Router":
        if self.ports < self.shared_by + 2:
            raise ValueError(
                f"ports = {self.ports} are too few: {self.shared_by} tiles share the router (shared_by), and it has 2 neighbours at least"
            )
        return self


class MeshWires(Component):
    """Wires between neighbouring routers, `timing.flit_width` of them each way, as long as the floor plan makes them."""

    law: Literal["bus"] = "bus"


class Activation(CountedComponent):
    """Activation functions of one value, by table."""

    law: Literal["activation"] = "activation"


class Accumulator(CountedComponent):
    """Adders of partial sums and of element-wise sums."""

    law: Literal["adder"] = "adder"


class Pool(CountedComponent):
    """Comparators."""

    law: Literal["pooling"] = "pooling"


class Multiplier(CountedComponent):
    """Multipliers of two values."""

    law: Literal["multiplier"] = "multiplier"


class Product(CountedComponent):
    """Multiply-accumulate units for products of two activations."""

    law: Literal["product"] = "product"


class Link(CountedComponent):
    """Links off the chip; rate: bits per second of one."""

    law: Literal["link"] = "link"
    rate: Annotated[float, Unit("1/s"), Field(gt=0, le=1e15)]


class Components(BaseModel):
    """What a chip file says of every component that the simulation charges.

    A chip may be without a gate_driver (the dac then switches the cells on too), without a multiplexer (an ADC a column, or switches
    that are part of another figure), without mesh_wires (where the router's figure has them in it), without a multiplier
    (element-wise products) and without a product unit (multiply-accumulates of two activations): None, and then it takes no
    network that needs one of the last two.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dac: Dac
    gate_driver: GateDriver | None = None
    crossbar: CrossbarArray = CrossbarArray()
    sample_hold: SampleHold = SampleHold()
    multiplexer: Multiplexer | None = None
    adc: Adc
    shift_add: ShiftAdd = ShiftAdd()
    input_register: Register = Register()
    output_register: Register = Register()
    buffer: Buffer = Buffer()
    bus: Bus = Bus()
    router: Router = Router()
    mesh_wires: MeshWires | None = None
    activation: Activation = Activation()
    accumulator: Accumulator = Accumulator()
    pool: Pool = Pool()
    multiplier: Multiplier | None = None
    product: Product | None = None
    tile_register: Register = Register()
    link: Link

    @property
    def names(self) -> tuple[str, ...]:
        """The components that there are, in the order of COMPONENTS."""
        return tuple(name for name in COMPONENTS if getattr(self, name) is not None)

    def items(self) -> Iterator[tuple[str, Component]]:
        """(name, statement) of those that there are, in the order of COMPONENTS."""
        return ((name, getattr(self, name)) for name in self.names)
