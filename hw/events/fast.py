"""The simulation in compiled code (`xbar.hw.events.compiled`): its tables made of a `Simulation`, and what came of them put back into it.

A `Simulation` knows its copies, ports, hold times and shipments before anything happens; here they become numbers. What comes of it is
written where the processes would have written it, so that the ledger is made in one way, and equals that of the processes: times,
counts and activities by their numbers, energies with them.

Not compiled (`why_not`): single crossbars, several chips, and buffers that can run full whose tables would be too large (`MOST`,
`MOST_GIVEN`). These are simulated by SimPy, as is what is so small that it would take longer to begin (`LEAST`).
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from xbar.hw.chip.cycle import FEMTOSECONDS
from xbar.hw.events.destinations import Copies
from xbar.hw.events.ledger import INPUT, OUTPUT, Activity
from xbar.hw.events.mesh import Shipment
from xbar.hw.events.room_rows import MOST, MOST_GIVEN, RoomRows, phases_of, rows_given
from xbar.hw.events.rows_look import LookAtRows
from xbar.hw.events.updates import crossbar_writes
from xbar.hw.events.vector_operation import Transfer
from xbar.hw.events.waiting import Port

if TYPE_CHECKING:
    from xbar.hw.events.copies import CopyProcess, Ports
    from xbar.hw.events.simulator import Simulation

COMPILED = "the compiled loop"
LEAST = 300_000  # events, as many as SimPy does in about a second: less than it takes to load the compiled loop and begin
OF_A_VECTOR = 9  # events of one vector, at least
JOURNAL_ROWS = 1 << 20  # at first
POOL = 256  # rows at first of a pool, beside some for every copy


@contextmanager
def uncollected() -> Iterator[None]:
    """Python's search for unreachable objects put off: a simulation is set up of some hundred thousand that all stay, and to go through
    them time and again took as long as to make them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def events_expected(simulation: "Simulation") -> int:
    """About how many events the simulation has."""
    return OF_A_VECTOR * simulation.requests * (2 + sum(layer.vectors for layer in simulation.network.layers))


def why_not(simulation: "Simulation") -> str | None:
    """Why the compiled loop cannot do the simulation; None where it can."""
    if simulation.per_crossbar:
        return "single crossbars are simulated by SimPy alone"
    credits = simulation.credits
    if credits.watched and phases_of(credits, simulation.requests) * len(credits.watched) > MOST:
        return f"room in buffers of {len(credits.watched)} tiles takes another table for each of too many samples: SimPy alone simulates it"
    if credits.watched and (rows := rows_given(credits, simulation.requests)) > MOST_GIVEN:
        return f"what vectors give back of room in buffers takes {rows:,} rows, more than {MOST_GIVEN:,}: SimPy alone simulates it"
    return None


class _Rows:
    """Rows of numbers by the names of their tables, and where each table will begin."""

    def __init__(self, begin: int):
        self.end = begin
        self.at: dict[str, int] = {}
        self.width: dict[str, int] = {}
        self.rows: dict[str, np.ndarray] = {}

    def room(self, name: str, count: int, width: int = 1) -> None:
        """Leave room for a table of zeros."""
        self.at[name], self.width[name], self.end = self.end, width, self.end + count * width

    def put(self, name: str, rows: Sequence[Sequence[int]] | Sequence[int] | np.ndarray, width: int = 1) -> np.ndarray:
        """A table of these rows, as it can still be changed."""
        table = np.array(rows, np.int64).reshape(-1, width) if width > 1 else np.array(rows, np.int64).ravel()
        self.room(name, len(table), width)
        self.rows[name] = table
        return table

    def of(self, name: str, number: np.ndarray) -> np.ndarray:
        """Where rows of a table begin, by their numbers."""
        found: np.ndarray = self.at[name] + number * self.width[name]
        return found

    def one(self, name: str, number: int) -> int:
        """Where a row of a table begins."""
        return self.at[name] + number * self.width[name]


class Numbers:
    """What one simulation is made of as the numbers that the loop works on."""

    def __init__(self, simulation: "Simulation"):
        from xbar.hw.events import compiled  # loads numba, which takes half a second

        self.loop, self.simulation = compiled, simulation
        self.layers = {layer.name: number for number, layer in enumerate(simulation.network.layers)}
        self.shipped: dict[int, tuple[int, Shipment]] = {}
        self.ports: dict[int, int] = {}
        self.holds: list[tuple[int, int]] = []
        self.units: dict[tuple[int, int], int] = {}
        self.drains: list[Activity | None] = []
        self.sendings: list[tuple[int, int, int]] = []
        self.room = RoomRows(simulation.credits, compiled, simulation.requests)
        self.moved: list[tuple[str, int, Transfer]] = []
        self.rows = self._laid()

    def _port(self, port: Port) -> int:
        return self.ports.setdefault(id(port), len(self.ports))

    def _shipment(self, shipment: Shipment) -> int:
        return self.shipped.setdefault(id(shipment), (len(self.shipped), shipment))[0]

    def _held(self, ports: "Ports") -> list[int]:
        first = len(self.holds)
        self.holds += [(self._port(port), hold) for port, hold in ports.shared]
        return [first, len(self.holds), ports.private]

    def _laid(self) -> _Rows:
        """All tables that do not grow."""
        simulation, c, rows = self.simulation, self.loop, _Rows(self.loop.SCALARS)
        links_port = self._port(simulation.off_chip_links.port)
        copies, kinds = self._copies(rows)
        sending_of = self._layers(rows, copies, kinds)
        self._transfers(rows)
        rows.put("holds", self.holds, c.HOLD_WIDTH)
        rows.put("ports", np.zeros((len(self.ports), c.P_WIDTH)), c.P_WIDTH)
        rows.rows["holds"][:, 0] = rows.of("ports", rows.rows["holds"][:, 0])
        shipments = [shipment for _, shipment in self.shipped.values()]
        steps = rows.put("steps", [step[:3] for shipment in shipments for step in shipment.steps], c.STEP_WIDTH)
        rows.put("links", np.zeros((len(simulation.links.free), c.X_WIDTH)), c.X_WIDTH)
        steps[:, c.STEP_LINK] = rows.of("links", steps[:, c.STEP_LINK])
        ends = rows.of("steps", np.cumsum([0] + [len(shipment.steps) for shipment in shipments]))
        sent = rows.put("shipments", np.zeros((len(shipments), c.H_WIDTH)), c.H_WIDTH)
        sent[:, c.H_FIRST], sent[:, c.H_END], sent[:, c.H_ROUTERS] = ends[:-1], ends[1:], [each.routers for each in shipments]
        rows.room("begun", max((len(shipment.steps) for shipment in shipments), default=0) + 1)
        sendings = rows.put("sendings", self.sendings, c.D_WIDTH)
        sendings[:, c.D_SHIPMENT] = rows.of("shipments", sendings[:, c.D_SHIPMENT])
        rows.rows["send of"][:] = rows.of("sendings", np.array(sending_of, np.int64))
        rows.room("order", len(sendings) + len(self.moved))
        rows.put("units", np.zeros((len(self.units), c.U_WIDTH)), c.U_WIDTH)
        rows.rows["units of"][:] = rows.of("units", rows.rows["units of"])
        rows.room("asking", len(copies), c.ASK_WIDTH)
        transfers = rows.rows["transfers"]
        transfers[:, c.T_SHIPMENT] = rows.of("shipments", transfers[:, c.T_SHIPMENT])
        transfers[:, [c.T_PORTS, c.T_PORTS_END]] = rows.of("holds", transfers[:, [c.T_PORTS, c.T_PORTS_END]])
        table = rows.rows["kinds"]
        for stage in (c.K_LOADING, c.K_SUMMING, c.K_FINISHING, c.K_BUFFERS):
            table[:, stage : stage + 2] = rows.of("holds", table[:, stage : stage + 2])
        table[:, c.K_GATHER] = rows.of("shipments", table[:, c.K_GATHER])
        table[:, [c.K_UNITS, c.K_UNITS_END]] = rows.of("units of", table[:, [c.K_UNITS, c.K_UNITS_END]])
        self._updates(rows, kinds)
        self.room.put(rows, rows.rows["layers"], rows.rows["requests"], simulation.network, len(copies))
        sendings[:, c.D_ROOM] = self.room.where(rows, sendings[:, c.D_ROOM])
        self.slot_width = c.S_WIDTH * len(self.layers) + self.vectors + self.room.pending + 1
        self.links_port = rows.one("ports", links_port)
        return rows

    def _copies(self, rows: _Rows) -> tuple[np.ndarray, dict[int, int]]:
        """Copies and their kinds of vectors; the number of each copy's first kind by its rank."""
        simulation, c = self.simulation, self.loop
        kinds: list[list[int]] = []
        units_of: list[int] = []
        mine: list[int] = []
        first: list[int] = []
        table = np.zeros((len(simulation.copies), c.C_WIDTH), np.int64)
        first_kind: dict[int, int] = {}
        for row, process in zip(table, simulation.copies, strict=True):
            row[c.C_RANK], row[c.C_STATE], row[c.C_SAMPLE], row[c.C_NUMBER] = process.rank, c.NEXT, -1, process.copy.index
            row[c.C_LAYER], row[c.C_MINE], row[c.C_KINDS] = self.layers[process.layer.name], len(first), len(kinds)
            first_kind[process.rank] = len(kinds)
            for phase in range(process.deal.phases):
                first.append(len(mine))
                mine += process.deal.vectors_of(process.copy.index, phase)
            first.append(len(mine))
            for number, (kind, shared) in enumerate(zip(process.kinds, process.shared, strict=True)):
                cycle, units = kind.operation.cycle, [self.units.setdefault(unit, len(self.units)) for unit in sorted(shared)]
                held = [number for ports in (kind.load, kind.partial, kind.output, kind.buffers) for number in self._held(ports)]
                kinds.append([
                    kind.load_run, kind.compute_run, cycle.slices, cycle.read, cycle.conversion, int(cycle.in_turn),
                    int(bool(kind.operation.partial_ports)), self._shipment(kind.operation.gather), *held, 0, 0,
                    len(units_of), len(units_of) + len(units), number * c.D_WIDTH,
                ])  # fmt: skip
                units_of += units
        rows.put("mine", mine)
        rows.put("mine first", rows.of("mine", np.array(first, np.int64)))
        rows.put("kinds", kinds, c.K_WIDTH)
        rows.put("units of", units_of)
        table[:, c.C_MINE], table[:, c.C_KINDS] = rows.of("mine first", table[:, c.C_MINE]), rows.of("kinds", table[:, c.C_KINDS])
        return rows.put("copies", table, c.C_WIDTH), first_kind

    def _layers(self, rows: _Rows, copies: np.ndarray, first_kind: dict[int, int]) -> list[int]:
        """Layers and requests; for each vector of each phase of a layer the number of what its results leave as."""
        simulation, c = self.simulation, self.loop
        network, deals, operations = simulation.network, simulation.placement.deals, simulation.operations
        table = np.zeros((len(self.layers), c.L_WIDTH), np.int64)
        loaded = {id(progress): self.layers[name] for name, progress in simulation._loaded.items()}
        readers = [loaded[id(progress)] for progress in simulation.readers[""]]
        self.input_readers, first = len(readers), len(self.layers) * c.S_WIDTH
        needs: list[tuple[int, int]] = []
        counts: list[int] = []
        waits: list[bool] = []
        row_kinds: list[int] = []
        sending_of: list[int] = []
        for row, layer in zip(table, network.layers, strict=True):
            name = layer.name
            row[c.L_VECTORS], row[c.L_PHASES], row[c.L_ANY], row[c.L_SEND] = layer.vectors, deals[name].phases, len(waits), len(sending_of)
            row[c.L_SLOT], row[c.L_SLOT_DONE] = self.layers[name] * c.S_WIDTH, first
            first += layer.vectors
            row[c.L_READERS] = len(readers)
            readers += [loaded[id(progress)] for progress in simulation.readers[name]]
            row[c.L_READERS_END], row[c.L_NEEDS] = len(readers), len(needs)
            waits_for_any = np.zeros(layer.vectors, bool)
            for other, needed in layer.needs.items():
                needs.append((self.layers[other], len(counts)))
                counts += needed.tolist()
                waits_for_any |= needed > 0
            row[c.L_NEEDS_END] = len(needs)
            waits += waits_for_any.tolist()
            row[c.L_ROW_KINDS], used = -1, [0]
            if name in simulation.kinds:
                row[c.L_ROW_KINDS], used = len(row_kinds), sorted(set(simulation.kinds[name]))
                row_kinds += simulation.kinds[name]
            row[c.L_SEND_PHASES] = lcm(operations.destinations.phases(name), deals[name].phases)
            mine = [process for process in simulation.copies if process.layer is layer]
            known: dict[tuple[int, Copies], int] = {}
            for phase in range(min(int(row[c.L_SEND_PHASES]), simulation.requests)):
                for copy, reached in zip(deals[name].copy_of(phase).tolist(), simulation.copies_of(name, phase), strict=True):
                    if (copy, reached) not in known:
                        known[copy, reached] = len(self.sendings)
                        self._send(mine[copy], reached, used)
                    sending_of.append(known[copy, reached])
        self.vectors = first - len(self.layers) * c.S_WIDTH
        rows.put("counts", counts)
        rows.put("waits", waits)
        rows.put("row kinds", np.array(row_kinds, np.int64) * c.K_WIDTH)
        rows.put("send of", np.zeros(len(sending_of), np.int64))
        rows.room("done", len(self.layers) * simulation.requests)
        rows.room("layers", len(self.layers), c.L_WIDTH)
        rows.rows["layers"] = table
        rows.put("readers", rows.of("layers", np.array(readers, np.int64)))
        rows.put("last", rows.of("layers", np.array([self.layers[layer.name] for layer in simulation.last_layers], np.int64)))
        rows.put("all", rows.of("layers", np.arange(len(self.layers))))
        needed = rows.put("needs", needs, c.NEED_WIDTH)
        needed[:, 0], needed[:, 1] = rows.of("layers", needed[:, 0]), rows.of("counts", needed[:, 1])
        for column, of in (
            (c.L_ANY, "waits"), (c.L_SEND, "send of"), (c.L_READERS, "readers"), (c.L_READERS_END, "readers"), (c.L_NEEDS, "needs"),
            (c.L_NEEDS_END, "needs"),
        ):  # fmt: skip
            table[:, column] = rows.of(of, table[:, column])
        table[:, c.L_ROW_KINDS] = np.where(table[:, c.L_ROW_KINDS] < 0, 0, rows.of("row kinds", table[:, c.L_ROW_KINDS]))
        table[:, c.L_DONE] = rows.of("done", np.arange(len(self.layers)) * simulation.requests)
        copies[:, c.C_LAYER] = rows.of("layers", copies[:, c.C_LAYER])
        return sending_of

    def _send(self, process: "CopyProcess", reached: Copies, used: list[int]) -> None:
        """What results of a copy leave as for these copies of their readers, by kind of vector, of kinds that are used."""
        sendings: list[tuple[int, int, int]] = [(0, -1, 0)] * len(process.kinds)
        drains: list[Activity | None] = [None] * len(process.kinds)
        for kind in used:
            drains[kind], shipment, room = process.drain(kind, reached)
            sendings[kind] = self._shipment(shipment), -1, self.room.number(room)
        self.sendings += sendings
        self.drains += drains

    def _transfers(self, rows: _Rows) -> None:
        """Requests, and by phase samples in and results out."""
        simulation, c = self.simulation, self.loop
        requests = np.zeros((simulation.requests, c.R_WIDTH), np.int64)
        requests[:, c.R_SAMPLE], requests[:, c.R_ARRIVAL] = np.arange(simulation.requests), simulation.arrival_fs
        table: list[tuple[int, ...]] = []
        if (transfers := simulation.transfers) is not None:
            for which, column, phases, made in (
                (INPUT, c.R_IN, transfers.in_phases, simulation.operations.image_in),
                (OUTPUT, c.R_OUT, transfers.out_phases, simulation.operations.result_out),
            ):
                requests[:, column] = len(table) + requests[:, c.R_SAMPLE] % phases
                for phase in range(min(phases, simulation.requests)):
                    transfer, first = made(phase), len(self.holds)
                    self.moved.append((which, phase, transfer))
                    self.holds += [(self._port(simulation.buffer_ports[tile]), hold) for tile, hold in transfer.buffer_ports.items()]
                    table.append((transfer.hold, self._shipment(transfer.shipment), first, len(self.holds), -1))
        rows.put("transfers", table, c.T_WIDTH)
        requests[:, [c.R_IN, c.R_OUT]] = rows.of("transfers", requests[:, [c.R_IN, c.R_OUT]])
        rows.put("requests", requests, c.R_WIDTH)

    def _updates(self, rows: _Rows, first_kind: dict[int, int]) -> None:
        """Updates, and what each writes."""
        simulation, c, crossbars = self.simulation, self.loop, 0
        updates: list[tuple[int, int, int]] = []
        writes: list[tuple[int, ...]] = []
        first_crossbar: list[int] = []
        for process in simulation.copies:
            first_crossbar.append(crossbars)
            crossbars += len(simulation.operations.crossbars[process.rank])
        rows.room("crossbars", crossbars)
        for update in simulation.updates:
            begin = len(writes)
            for number, process in enumerate(simulation.copies):
                for write in crossbar_writes(simulation.placement, process.copy, update) if process.layer.name == update.layer else ():
                    kind = process.kind_of(simulation.operations.crossbars[process.rank][write.crossbar])
                    writes.append((
                        rows.one("copies", number), rows.one("kinds", first_kind[process.rank] + kind),
                        rows.one("crossbars", first_crossbar[number] + write.crossbar), write.duration, write.cells,
                    ))  # fmt: skip
            updates.append((round(update.begins * FEMTOSECONDS), begin, len(writes)))
        rows.put("writes", writes, c.WRITE_WIDTH)
        table = rows.put("updates", updates, c.UPDATE_WIDTH)
        table[:, 1:] = rows.of("writes", table[:, 1:])
        rows.room("written", len(writes), c.WRITE_WIDTH)

    def begin(self, size: int) -> np.ndarray:
        """All as it is at the beginning, with pools of rows so many times as large as they are at first."""
        simulation, c, rows = self.simulation, self.loop, self.rows
        most_phases = max((deal.phases for deal in simulation.placement.deals.values()), default=1)
        pool, reserve = size * (POOL + 8 * len(simulation.copies)), 2 + len(self.holds)
        pools = {
            "NODE": (pool + reserve, c.N_WIDTH, c.N_NEXT), "WAIT": (pool + size * POOL, c.W_WIDTH, c.W_NEXT),
            "JOB_FREE": (pool, c.J_WIDTH, c.J_NEXT), "BLOCK": (len(simulation.links.free) + pool // 8, c.G_WIDTH, c.G_NEXT),
            "SLOT": (min(simulation.requests, size * (16 + most_phases)) + 4, self.slot_width, 0),
        }  # fmt: skip
        queue = 1 << (2 * pool).bit_length()
        at, end = {}, rows.end
        for name, (count, width, _) in pools.items():
            at[name], end = end, end + count * max(1, width)
        self.pools = {name: (at[name], count) for name, (count, _, _) in pools.items()}
        for name, room in (("HEAP", 2 * pool * c.HEAP_WIDTH), ("QUEUE", 6 * queue), ("POST", pool * c.POST_WIDTH)):
            at[name], end = end, end + room
        memory = np.zeros(end, np.int64)
        for name, table in rows.rows.items():
            memory[rows.at[name] : rows.at[name] + table.size] = table.ravel()
        for name, (count, width, column) in pools.items():
            first = at[name] + np.arange(count) * max(1, width)
            memory[first[:-1] + column] = first[1:]
        of = rows.at
        scalars = {
            c.REQUESTS: simulation.requests, c.HELD: simulation.samples_held, c.IO: int(simulation.off_chip_io),
            c.HOP: simulation.links.hop, c.SHORTEST: simulation.links.shortest, c.ACTIVITIES: len(simulation.journal.activities),
            c.HEAP_ROWS: 2 * pool, c.QUEUE_ROWS: queue, c.POST_ROWS: pool, c.RESERVE: reserve, c.VECTORS: self.vectors,
            c.LAYERS: len(self.layers), c.COPIES: len(simulation.copies), c.UPDATES: len(simulation.updates),
            c.NODES: pools["NODE"][0], c.WAITS: pools["WAIT"][0], c.JOBS: pools["JOB_FREE"][0], c.BLOCKS: pools["BLOCK"][0],
            c.SLOTS: pools["SLOT"][0], c.ASKING: of["asking"], c.BEGUN: of["begun"], c.ORDER: of["order"], c.WRITES_OUT: of["written"],
            c.REQUEST_ROWS: of["requests"], c.COPY_ROWS: of["copies"], c.UPDATE_ROWS: of["updates"], c.LINKS_PORT: self.links_port,
            c.IN_READERS: of["readers"], c.IN_READERS_END: of["readers"] + self.input_readers,
            c.LASTS: of["last"], c.LASTS_END: of["last"] + len(simulation.last_layers),
            c.ALL: of["all"], c.ALL_END: of["all"] + len(self.layers),
            **{getattr(c, name): where for name, where in at.items()}, **self.room.scalars(of, at["SLOT"], self.slot_width),
        }  # fmt: skip
        for scalar, value in scalars.items():
            memory[scalar] = value
        return memory

    def table(self, memory: np.ndarray, name: str) -> np.ndarray:
        """A table as it is now."""
        width, count = self.rows.width[name], len(self.rows.rows[name])
        return memory[self.rows.at[name] : self.rows.at[name] + count * width].reshape(count, width)


def serve_compiled(simulation: "Simulation", every_request: bool = False) -> bool:
    """Serve all requests in the compiled loop, and write down what came of it; False, and nothing is written, where times come near the end
    of what 64 bits hold. every_request: as in `xbar.hw.events.repetition.serve`."""
    with uncollected():
        return _served(Numbers(simulation), simulation, every_request)


def _served(numbers: Numbers, simulation: "Simulation", every_request: bool) -> bool:
    loop, size, requests = numbers.loop, 1, simulation.requests
    while True:
        simulation.requests = requests
        memory, journal, ended = numbers.begin(size), np.empty((JOURNAL_ROWS, 3), np.int64), loop.JOURNAL
        room = numbers.room.begin(numbers.pools["SLOT"][1])
        look = LookAtRows(numbers, memory, room)
        memory[loop.LOOKING] = look.open and not every_request
        while ended in (loop.JOURNAL, loop.LOOK):
            if memory[loop.ROWS] + 2 > len(journal):
                journal = np.concatenate([journal, np.empty_like(journal)])
            if ended == loop.LOOK:
                look.after(int(memory[loop.SERVED]))
                memory[loop.LOOKING] = look.open
            ended = loop.go_on(memory, room, journal)
        if ended != loop.FULL:
            break
        size *= 4
    if ended == loop.BEYOND:
        simulation.requests = requests
        return False
    numbers.room.put_back(memory, room)
    if ended == loop.LACKS:
        raise numbers.room.lacks(memory, room)
    if ended == loop.STUCK:
        simulation.credits.stuck()
        raise RuntimeError("nothing is left to happen, and requests are not served")
    assert ended == loop.DONE
    _write_down(numbers, memory, journal)
    look.close()
    return True


def _write_down(numbers: Numbers, memory: np.ndarray, rows: np.ndarray) -> None:
    """Put what came of the loop where processes would have put it."""
    loop, simulation, at, width = numbers.loop, numbers.simulation, numbers.rows.at, numbers.rows.width
    journal, count = simulation.journal, int(memory[loop.ROWS])
    for row in memory[at["order"] : at["order"] + int(memory[loop.STARTED])].tolist():
        if at["sendings"] <= row < at["sendings"] + width["sendings"] * len(numbers.sendings):
            drain = numbers.drains[(row - at["sendings"]) // width["sendings"]]
            assert drain is not None
            journal.describe(drain)
        else:
            which, phase, transfer = numbers.moved[(row - at["transfers"]) // width["transfers"]]
            assert simulation.transfers is not None
            simulation.transfers.known[which, phase] = transfer, journal.describe(Activity(which, "transfer", 0, transfer.actions))
    for column, values in enumerate((journal.activity, journal.start, journal.end)):
        values.frombytes(np.ascontiguousarray(rows[:count, column]).tobytes())
    simulation.finish_fs = numbers.table(memory, "requests")[:, loop.R_FINISH].copy()
    for (_, shipment), sent in zip(numbers.shipped.values(), numbers.table(memory, "shipments")[:, loop.H_SENT].tolist(), strict=True):
        simulation.links.count(shipment, sent)
    taken = numbers.table(memory, "units")[:, loop.U_TIME].tolist()
    simulation.taken.update({unit: taken[number] for unit, number in numbers.units.items() if taken[number]})
    written = memory[at["written"] : at["written"] + int(memory[loop.WRITTEN]) * loop.WRITE_WIDTH].reshape(-1, loop.WRITE_WIDTH)
    for update, copy, start, end, cells in written.tolist():
        simulation.written[update, copy, start, end] += cells
    simulation.more_events = int(memory[loop.EVENTS])
