"""What no mapping of a network on a chip comes below: time, energy, and their product.

Whatever the numbers of copies, their order, and what they share: a vector of a layer holds its copy for at least `held` and takes at
least `delay` from its last input to its result, as its slice loop alone has them and, of copies that lie in one piece, its tiles' buffer
ports and output stages at the best place to begin (`StageTimes`). Mesh, digital units and whatever waits for others are neglected.

Time between results. A copy that takes k vectors of a sample holds its arrays for k held, so for a time T layer l, of v vectors, needs
ceil(v / floor(T / held)) copies (below T = held, where copies take vectors of some samples only, v held / T). Crossbars needed fall
with T; the least T for which the chip has them is found exactly, by bisection of whole femtoseconds. Off-chip links, which carry every
sample and result, bound it too.

Latency of one request. Let F_l(k) be when the first k vectors of layer l are done, and take any j < k. Of the k - j vectors from j on,
one of n copies takes ceil((k - j) / n) or more, none of them before what the vectors from j on wait for at least, so

    F_l(k) >= F_p(c) + delay_l + held_l (ceil((k - j) / n_l) - 1)

for every layer p of whose first c vectors all vectors of l from j on wait. A path through the network and its vectors is a chain of such
steps: constant + sum over layers of held (ceil(m / n) - 1), which latency is not below. So it is not below any mean of paths with
weights w, nor (Lagrange's relaxation; of sum(c n) <= room, with a price of room) below

    sum over layers of min over n of [price c n + sum over paths of w held (ceil(m / n) - 1)] - price room + sum of w constant.

That is computed as written, for the weights and the price that a linear programme finds best, over paths that are added one by one:
each the longest at the programme's mix of numbers of copies, until it is hardly longer than what is had. A mix is no number of copies,
so the best of them may lie well above. Numbers of copies above 32 are taken in spans: cost of the first, time of the last. What a layer
waits for of itself, or of layers after it, is neglected.

Energy. What copies do not change is the ledger's. Buffers, buses and routers: every input is read once by each core that holds its row, and
written once on each tile that does, all of which but one it reaches over a router, in one copy at the best place to begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import scipy

from xbar.hw.array.diagonal import weight_cells
from xbar.hw.chip.cycle import port_time, read_cycle, units_time
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Crossbar, Sharing, crossbars_at, layer_geometry
from xbar.hw.errors import ParameterError
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.network import MatrixLayer, Network

WHERE_THEY_LIE = ("router", "mesh_wires", "buffer", "bus", "accumulator", "tile_register")  # whose energy copies' places change
SINGLE = 32  # numbers of copies up to here are told apart; spans above, each longer by a twentieth
GRID = 192  # vectors of a layer at which paths may come and go
PATHS, NEAR = 80, 0.002  # paths at most, and how much longer the longest may be than what is had


@dataclass(frozen=True)
class Judged:
    """One mapping: energy of a request [J], latency alone or time between results [s]."""

    energy: float
    time: float

    @property
    def product(self) -> float:
        """What is made small [J s]."""
        return self.energy * self.time


@dataclass(frozen=True)
class StageTimes:
    """Of a vector of a layer, wherever its copy lies, at least: held, from one vector's last conversion to the next one's of the same
    copy [fs]; delay, from its last input to its result, mesh apart [fs]; loaded, bits that its cores read from buffers; arrivals, times
    that an input is written to one; remote, times that it comes over a router."""

    held: int
    delay: int
    loaded: float
    arrivals: float
    remote: float


def stage_times(chip: Chip, layer: MatrixLayer, sharing: Sharing = "cores") -> StageTimes:
    """What a vector of the layer takes at least, of copies that share at most as much."""
    own, geometry, structure = chip.for_layer(layer.name), layer_geometry(chip, layer), chip.structure
    crossbars = crossbars_at(chip, geometry, range(geometry.crossbars))
    read = np.array([geometry.wordlines_per_input if layer.lookup else x.rows for x in crossbars])
    kinds = {(rows, x.bitlines, x.conversions): x for rows, x in zip(read.tolist(), crossbars, strict=True)}
    cycles = [read_cycle(chip, layer, [_alone(x, rows)]) for (rows, _, _), x in kinds.items()]
    held = max(cycle.busy for cycle in cycles)
    through = max(
        cycle.busy if cycle.in_turn else cycle.read + (cycle.slices - 1) * max(cycle.read, cycle.conversion) + cycle.conversion
        for cycle in cycles
    )
    if layer.lookup:
        return StageTimes(held, through, 0.0, 1.0, 0.0)
    bits, inputs = own.inputs.bits, layer.groups * layer.inputs
    values = np.array([geometry.values_of(x.row_tile, x.group) for x in crossbars])
    part = np.unique([[x.group, x.row_tile] for x in crossbars], axis=0, return_inverse=True)[1].ravel()
    if sharing == "crossbars":  # anywhere: each row once
        return StageTimes(held, through, float(inputs * bits), 1.0, 0.0)
    outputs = np.array([geometry.outputs_of(x.column_tile, x.group) if x.conversions else 0 for x in crossbars])
    parts, per_core, per_tile = part.max() + 1, structure.crossbars_per_core, structure.crossbars_per_core * structure.cores_per_tile
    found = []
    for begin in range(0, per_tile, per_core if sharing == "none" else 1):
        slot = np.arange(begin, begin + len(crossbars))
        core, tile = slot // per_core, slot // per_tile
        once = np.unique(core * parts + part, return_index=True)[1]
        by_core = np.bincount(core[once], values[once] * bits)
        times = {count: port_time(chip, count) for count in np.unique(by_core).tolist()}
        load = np.bincount(np.arange(len(by_core)) // structure.cores_per_tile, [times[count] for count in by_core.tolist()]).max()
        added = float(np.bincount(tile, outputs).max())
        first = np.unique(tile * parts + part, return_index=True)[1]
        shares = np.bincount(tile[first], values[first] / inputs)
        drain = units_time(own, {"accumulator": added, "tile_register": added})
        found.append((int(load) + drain, by_core.sum(), shares.sum(), shares.sum() - shares.max()))
    around, loaded, arrivals, remote = (float(min(each)) for each in zip(*found, strict=True))
    return StageTimes(held, through + int(around), loaded, arrivals, remote)


def _alone(crossbar: Crossbar, rows: int) -> Crossbar:
    return crossbar._replace(core=0, tile=0, slot=0, group=0, rows=rows)


def sizes(network: Network, chip: Chip, sharing: Sharing) -> dict[str, float]:
    """Crossbars that a copy of each layer takes of the chip; of those that share crossbars, as many as its cells fill."""
    geometries = {layer.name: layer_geometry(chip, layer) for layer in network.layers}
    per_core, cells = chip.structure.crossbars_per_core, chip.structure.wordlines * chip.structure.bitlines
    if sharing == "crossbars":
        return {name: weight_cells(geometry) / cells for name, geometry in geometries.items()}
    whole = per_core if sharing == "none" else 1
    return {name: float(ceil(geometry.crossbars / whole) * whole) for name, geometry in geometries.items()}


def least(network: Network, chip: Chip, objective: str, ledger: Ledger, sharing: Sharing = "cores") -> Judged:
    """Energy [J] and time [s] of a request below which no mapping comes whose copies share at most as much: latency of one alone, or time
    between results in a long row, and the energy with static power over that time.

    objective: latency or throughput. ledger: of any placement of the network without shared crossbars, whose energy of all that copies do
    not change is taken. Raises ParameterError where the chip has no room for one copy of each layer.
    """
    room, each = float(chip.crossbars), sizes(network, chip, sharing)
    if sum(each.values()) > room:
        raise ParameterError(f"chip {chip.name} has {chip.crossbars} crossbars, one copy of each layer takes {sum(each.values()):g}")
    times = {layer.name: stage_times(chip, layer, sharing) for layer in network.layers}
    operations = VectorOperations(ledger.placement, True)
    brought, taken = operations.image_in(0).hold, operations.result_out(0).hold
    if objective == "throughput":
        time = float(least_period(network, {name: found.held for name, found in times.items()}, each, room, brought + taken))
    else:
        time = brought + least_latency(network, times, each, room) + taken
    time *= FEMTOSECOND
    return Judged(_least_energy(operations, ledger, times) + chip.static_power * time, time)


# ---- time between results


def least_period(network: Network, held: Mapping[str, int], each: Mapping[str, float], room: float, links: int = 0) -> int:
    """The least time [fs] for which crossbars suffice, of which a copy of a layer takes `each`: exact where nothing else holds any up."""

    def needed(time: int) -> float:
        return sum(each[layer.name] * copies_for(layer.vectors, held[layer.name], time) for layer in network.layers)

    low, high = 0, max(layer.vectors * held[layer.name] for layer in network.layers)  # not enough; enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(middle) <= room else (middle, high)
    return max(high, links)


def copies_for(vectors: int, held: int, time: int) -> int:
    """The fewest copies of which each takes no more than that time [fs] of a sample, on the mean of samples."""
    return -(-vectors // (time // held)) if time >= held else -(-vectors * held // time)


# ---- latency


class _Layer:
    """One layer of the paths: prefixes k and beginnings j that they may take, and what is waited for at each beginning."""

    def __init__(self, layer: MatrixLayer, number: dict[str, int], times: StageTimes):
        self.held, self.delay, self.vectors = float(times.held), float(times.delay), layer.vectors
        grid = np.unique(np.linspace(0, layer.vectors, min(layer.vectors, GRID) + 1).astype(int))
        self.begins, self.ends = grid[:-1], grid[1:]
        self.length = self.ends[:, None] - self.begins[None, :]  # vectors of a step, where above 0
        self.waits: dict[int, np.ndarray] = {}  # by layer before: how many of its vectors, at each beginning
        for name, counts in layer.needs.items():
            if name in number:
                least_from = np.minimum.accumulate(counts[::-1])[::-1]
                self.waits[number[name]] = least_from[self.begins]


def least_latency(network: Network, times: Mapping[str, StageTimes], each: Mapping[str, float], room: float) -> float:
    """Time [fs] from when the sample is there to its result, of which no numbers of copies come below; see above."""
    number: dict[str, int] = {}
    layers: list[_Layer] = []
    for layer in network.layers:
        layers.append(_Layer(layer, number, times[layer.name]))
        number[layer.name] = len(number)
    cost = np.array([each[layer.name] for layer in network.layers])
    spans = [_spans(layer.vectors, int((room - cost.sum()) // own) + 1) for layer, own in zip(network.layers, cost, strict=True)]
    paths = [_longest_path(layers, [np.zeros(layer.vectors + 1) for layer in layers])[1]]
    best = 0.0
    for _ in range(PATHS):
        had, mixes = _priced(layers, paths, spans, cost, room)
        best = max(best, had)
        gains = [
            layer.held * sum(share * (-(-np.arange(layer.vectors + 1) // span[k][1]) - 1) for k, share in enumerate(mix) if share)
            for layer, mix, span in zip(layers, mixes, spans, strict=True)
        ]
        length, path = _longest_path(layers, gains)
        if length <= best * (1 + NEAR) or path in paths:
            break
        paths.append(path)
    return best


def _spans(vectors: int, most: int) -> list[tuple[int, int]]:
    """Numbers of copies, first and last of each span."""
    most, found, first = max(1, min(vectors, most)), list[tuple[int, int]](), 1
    while first <= most:
        last = first if first <= SINGLE else min(most, first + first // 20)
        found.append((first, last))
        first = last + 1
    return found


Path = tuple[tuple[int, int], ...]  # layers, with the vectors of each step


def _longest_path(layers: list[_Layer], gains: list[np.ndarray]) -> tuple[float, Path]:
    """The longest path where m vectors of a layer take its delay and gains[layer][m] in a row; its time [fs] and steps."""
    done: list[np.ndarray] = []
    came: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for layer, gain in zip(layers, gains, strict=True):
        ready, source, prefix = np.zeros(len(layer.begins)), np.full(len(layer.begins), -1), np.zeros(len(layer.begins), int)
        for before, counts in layer.waits.items():
            waited = np.searchsorted(layers[before].ends, counts, side="right") - 1  # an earlier prefix is done no later
            when = np.where(waited >= 0, done[before][waited], 0.0)
            later = when > ready
            ready, source, prefix = np.where(later, when, ready), np.where(later, before, source), np.where(later, waited, prefix)
        until = np.where(layer.length > 0, ready + gain[np.maximum(layer.length, 0)], -np.inf)
        chosen = until.argmax(1)
        done.append(layer.delay + until[np.arange(len(chosen)), chosen])
        came.append((chosen, source, prefix))
    at = int(np.argmax([each[-1] for each in done]))
    length, end, path = float(done[at][-1]), len(layers[at].ends) - 1, list[tuple[int, int]]()
    while at >= 0:
        chosen, source, prefix = came[at]
        begin = int(chosen[end])
        path.append((at, int(layers[at].length[end, begin])))
        at, end = int(source[begin]), int(prefix[begin])
    return length, tuple(path)


def _priced(
    layers: list[_Layer], paths: list[Path], spans: list[list[tuple[int, int]]], cost: np.ndarray, room: float
) -> tuple[float, list[np.ndarray]]:
    """What these paths bound latency by [fs], and of each layer the mix of its spans at which they do."""
    count, unit = len(layers), max(layer.held * layer.vectors for layer in layers)
    constants = np.array([sum(layers[at].delay for at, _ in path) for path in paths])
    vectors = np.zeros((len(paths), count), int)
    for row, path in zip(vectors, paths, strict=True):
        for at, length in path:
            row[at] = length
    first, last = [np.array([s[0] for s in span]) for span in spans], [np.array([s[1] for s in span]) for span in spans]
    waits = [layer.held * np.maximum(-(-vectors[:, [k]] // last[k]) - 1, 0) for k, layer in enumerate(layers)]  # (paths, spans)
    owner = np.concatenate([np.full(len(span), k) for k, span in enumerate(spans)])
    # variables: what each layer adds at least, the price of all room, weights of paths
    above = np.zeros((len(owner), count + 1 + len(paths)))
    above[np.arange(len(owner)), owner] = 1
    above[:, count] = -np.concatenate([cost[k] * each for k, each in enumerate(first)]) / room
    above[:, count + 1 :] = -np.concatenate(waits, axis=1).T / unit
    aim = np.concatenate([-np.ones(count), [1.0], -constants / unit])
    whole = np.concatenate([np.zeros(count + 1), np.ones(len(paths))])[None, :]
    limits = [(None, None)] * count + [(0, None)] * (1 + len(paths))
    solved = scipy.optimize.linprog(aim, above, np.zeros(len(owner)), whole, [1.0], limits, method="highs")
    weights = np.maximum(solved.x[count + 1 :], 0)
    weights, price = weights / weights.sum(), max(float(solved.x[count]), 0.0) * unit / room
    least_each = [(price * cost[k] * first[k] + weights @ waits[k]).min() for k in range(count)]
    mixes = np.maximum(-solved.ineqlin.marginals, 0)
    return float(sum(least_each) - price * room + weights @ constants), [mixes[owner == k] / mixes[owner == k].sum() for k in range(count)]


# ---- energy


def _least_energy(operations: VectorOperations, ledger: Ledger, times: Mapping[str, StageTimes]) -> float:
    """Energy of a request without static power [J]: the ledger's where copies do not change it, and of the rest the least."""
    kept = [name for name in ledger.energy.columns if name not in WHERE_THEY_LIE]
    energy, network = float(ledger.energy.drop(index=STATIC)[kept].to_numpy().sum()) / ledger.requests, operations.network
    for layer in network.layers:
        costs = {name: cost.energy_per_action for name, cost in operations.chip.costs_for(layer.name).items()}
        own, geometry = times[layer.name], operations.placement.geometry(layer.name)
        copy = operations.placement.copies[layer.name][0]
        read = operations.read_by(copy)
        added = float(sum(geometry.outputs_of(x.column_tile, x.group) for x in read if x.conversions) * layer.vectors)
        added += 0.0 if layer.lookup else layer.digital.get("accumulator", 0.0)
        energy += added * (costs["accumulator"] + costs["tile_register"])
        moved = own.loaded * layer.vectors + operations.of(copy).drain.get("buffer", 0.0) * layer.vectors * (not layer.lookup)
        energy += moved * (costs["buffer"] + costs["bus"])
    return energy + sum(_least_to_arrive(operations, source, times) for source in operations.sources)


def _least_to_arrive(operations: VectorOperations, source: str, times: Mapping[str, StageTimes]) -> float:
    """Energy of a request's values of a source that come to buffers [J]: of those that several flows bring, what the one takes that
    takes most, as all could find them where that one does."""
    destinations, chip = operations.destinations, operations.chip
    costs = chip.costs_for(source) if source else chip.costs
    flows, moved, remote = destinations.flows_from[source], 0.0, 0.0
    goes = [destinations.of_vectors(flow, 0) if source else destinations.reached(flow, 0) for flow in flows]
    reached = [float(np.mean([bool(copies) for copies in each])) if each else 0.0 for each in goes]
    for kind in destinations.kinds(source):
        found = [(bits * reached[place], flows[place].addend, times[flows[place].target]) for place, bits in zip(*kind, strict=True)]
        moved += max(bits * (1.0 if addend else own.arrivals) for bits, addend, own in found)
        remote += max(0.0 if addend else bits * (own.remote if source else own.arrivals) for bits, addend, own in found)
    return moved * (costs["buffer"].energy_per_action + costs["bus"].energy_per_action) + remote * costs["router"].energy_per_action
