"""Draws house.png, weight_way.png and request_way.png from the source itself, and writes house.json, what they were drawn from.

    python docs/pictures/house.py [FOLDER]    # writes into FOLDER, by default this file's

Rooms are folders (of hw/ each of its own, and each module at its root), floors follow from imports: a room of hw lies above all
that it imports, any other directly below who imports it. A way is a list of steps, each a function or class with the function
that calls it; a step that does not exist, or that its caller does not name and cannot reach through imports, is an error.
"""

import ast
import json
import re
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from xbar.reports.pages import save_png
from xbar.reports.style import FAINT, INK, PAPER, SOFT, write

ROOT = Path(__file__).parents[2]
FOLDERS = ("hw", "models", "compression", "workloads", "reports", "xbar")
SHADES = {"hw": "#e8f1f5", "": "#f4f0e6"}  # of boxes: rooms of hw, others
WIDTH, HEIGHT = 11.69, 8.27  # inches, A4
LETTER = 0.05  # inches, of text of 7 points, on the mean


# ---- what the source says


@cache
def source_of(module: str) -> ast.Module:
    """The syntax of a module of the project, such as hw.array.product; raises FileNotFoundError."""
    path = ROOT / Path(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its name without xbar., and its file."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> nx.DiGraph:
    """Which module imports which."""
    graph = nx.DiGraph()
    graph.add_nodes_from(modules())
    for module in modules():
        for node in ast.walk(source_of(module)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in (each.removeprefix("xbar.") for each in names if each.startswith("xbar.")):
                target = name if name in modules() else name.rpartition(".")[0]
                if target in modules() and target != module:
                    graph.add_edge(module, target)
    return graph


def room_of(module: str) -> str:
    """hw/array of hw.array.product, hw of hw itself (the door), workloads of workloads.study.run."""
    parts = module.split(".")
    return "/".join(parts[:2]) if parts[0] == "hw" else parts[0]


def house() -> dict[str, dict[str, Any]]:
    """By room: its floor, lines, modules, and the rooms that it imports (without those that follow from the others)."""
    graph, held = nx.DiGraph(), dict[str, dict[str, int]]()
    for module, path in modules().items():
        lines = len(path.read_text("utf-8").splitlines())
        if module == "hw" or lines > 1:  # an __init__ of one line, its docstring, is no code
            room = room_of(module)
            parts = path.relative_to(ROOT / room).parts if (ROOT / room).is_dir() else (path.name,)
            files = held.setdefault(room, {})
            part = parts[0] if len(parts) == 1 else f"{parts[0]}/"
            files[part] = files.get(part, 0) + lines
    held = {room: files for room, files in held.items() if room != "hw/presets"}
    graph.add_nodes_from(held)
    graph.add_edges_from((a, b) for one, other in imports().edges if (a := room_of(one)) != (b := room_of(other)))
    assert nx.is_directed_acyclic_graph(graph), f"imports go in a circle: {nx.find_cycle(graph)}"
    reduced = nx.transitive_reduction(graph)
    floor: dict[str, int] = {}
    for room in reversed(list(nx.topological_sort(graph))):
        floor[room] = 1 + max((floor[below] for below in graph[room]), default=-1)
    for room in nx.topological_sort(graph):
        above = [floor[each] for each in graph.predecessors(room)]
        if not room.startswith("hw") and above:
            floor[room] = min(above) - 1
    return {
        room: {
            "floor": floor[room], "lines": sum(held[room].values()), "modules": sorted(held[room]),
            "imports": sorted(reduced[room]),
        }
        for room in sorted(held, key=lambda room: (-floor[room], room))
    }  # fmt: skip


# ---- ways


@dataclass(frozen=True)
class Step:
    """What happens, in which function or class (module.name), and in which function that is called; "": by the user."""

    what: str
    name: str
    by: str


WEIGHT = (
    Step(
        "The model is captured; constant matrices are found, batch norms folded into them.",
        "hw.graph.graph.read",
        "hw.analog.convert.convert",
    ),
    Step(
        "A matrix (groups, outputs, inputs), and where its vectors lie in tensors.",
        "hw.graph.matrix.Matrix",
        "hw.analog.layers.AnalogLayer.__init__",
    ),
    Step(
        "How it is cut: slices, polarities, row and column tiles. All counts.",
        "hw.array.geometry.Geometry",
        "hw.array.design.ArrayDesign.geometry",
    ),
    Step(
        "Which cell lies on which wordline and bitline.",
        "hw.array.layout.CrossbarLayout",
        "hw.array.crossbar.CrossbarMatrix.__init__",
    ),
    Step(
        "Weights to integers with a scale, integers to levels of cells.",
        "hw.array.mapping.map_weights",
        "hw.array.crossbar.CrossbarMatrix.program",
    ),
    Step(
        "Levels to target conductances, written to each chip instance.",
        "hw.array.programmed.write_array",
        "hw.array.crossbar.CrossbarMatrix.program",
    ),
    Step(
        "Programming error, write-verify and stuck cells are drawn.",
        "hw.cells.device.Device.program",
        "hw.array.programmed.write_array",
    ),
    Step(
        "Drift, telegraph state and temperature at the time of the read.",
        "hw.cells.device.Device.conductance_at",
        "hw.array.programmed.ProgrammedArray.conductances",
    ),
    Step(
        "Cells as sense amplifiers see them, pairs joined, with read noise.",
        "hw.array.currents.seen_cells",
        "hw.array.ready.make_ready",
    ),
    Step(
        "Wires: solved once for each programmed crossbar.",
        "hw.array.solved.kept_conductance",
        "hw.array.currents._effective",
    ),
    Step(
        "DAC streams, and ADCs with the largest currents that can be.",
        "hw.array.channel.read_channel",
        "hw.array.crossbar.CrossbarMatrix.__init__",
    ),
    Step(
        "Ranges of ADCs from currents seen on calibration data.",
        "hw.array.calibration.calibrated_range",
        "hw.array.crossbar.CrossbarMatrix.calibrate",
    ),
    Step(
        "Cells in steps of the ADC: ready for reads.", "hw.array.ready.make_ready", "hw.array.ready.ReadSequence.ready"
    ),
    Step(
        "Voltages times cells, noise, codes; slice by slice. (Tables: lookup.look_up.)",
        "hw.array.product.product",
        "hw.array.product.Products.read",
    ),
    Step("Codes are shifted and added to sums of products.", "hw.array.sums.sums_of", "hw.array.product.product"),
    Step(
        "Scaled, bias added, laid out as the layer's result.",
        "hw.analog.layers.AnalogLayer._product",
        "hw.analog.layers.AnalogLayer.forward",
    ),
)

REQUEST = (
    Step("The network as layers, and for each vector what must be done before.", "hw.graph.trace.trace", ""),
    Step("Crossbars for each copy of a layer; copies balance the pipeline.", "hw.chip.placement.place", ""),
    Step(
        "Which crossbars a copy lies on.",
        "hw.chip.placement.Placement.crossbars_of",
        "hw.events.vector_operation.VectorOperations.__init__",
    ),
    Step(
        "What one vector does in load, compute and drain, and how long it holds what.",
        "hw.events.vector_operation.VectorOperations.of",
        "hw.events.simulator.Simulation.__init__",
    ),
    Step(
        "When requests arrive.", "hw.events.arrivals.Arrivals.femtoseconds", "hw.events.simulator.Simulation.__init__"
    ),
    Step(
        "A request's sample comes over the links into the buffers.",
        "hw.events.simulator.Simulation._request",
        "hw.events.simulator.Simulation.start",
    ),
    Step(
        "A copy takes its share of the layer's vectors, one after another.",
        "hw.events.copies.CopyProcess.process",
        "hw.events.simulator.Simulation.start",
    ),
    Step(
        "A vector waits for the vectors that it rests on.",
        "hw.events.waiting.Progress.until",
        "hw.events.copies.CopyProcess._wait_for_inputs",
    ),
    Step(
        "Load: it waits its turn at each tile's buffer port.",
        "hw.events.waiting.Port.serve",
        "hw.events.copies.CopyProcess._begin",
    ),
    Step(
        "It waits until its arrays are free and written.",
        "hw.events.copies.CopyProcess._wait_for_arrays",
        "hw.events.copies.CopyProcess.process",
    ),
    Step(
        "Compute: array reads, and conversions behind them.",
        "hw.events.copies.CopyProcess._compute",
        "hw.events.copies.CopyProcess.process",
    ),
    Step(
        "Drain: partial sums meet, digital units, output stage; readers are woken.",
        "hw.events.copies.CopyProcess._finish",
        "hw.events.copies.CopyProcess.process",
    ),
    Step(
        "Results travel over the links of the mesh, each of which moves one flit at a time.",
        "hw.events.mesh.Outbox.post",
        "hw.events.copies.CopyProcess._finish",
    ),
    Step(
        "What ran when, and how often each component acted.", "hw.events.ledger.Ledger", "hw.events.simulator.simulate"
    ),
    Step(
        "Each action at its component's energy.",
        "hw.chip.description.Chip.costs",
        "hw.events.ledger.Ledger._energies",
    ),
)


def found(name: str) -> tuple[str, ast.AST]:
    """The module and the definition of a full name such as hw.cells.device.Device.program; raises LookupError."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        if module in modules():
            node: Any = source_of(module)
            for part in parts[count:]:
                inside = [each for each in node.body if getattr(each, "name", None) == part]
                if not inside:
                    raise LookupError(f"{name}: {modules()[module].relative_to(ROOT)} defines no {part}")
                node = inside[0]
            return module, node
    raise LookupError(f"{name}: no such module")


def check(way: tuple[Step, ...]) -> None:
    """Raise LookupError for a step that is not there, or that its caller does not name or cannot reach through imports."""
    for step in way:
        module, _ = found(step.name)
        if not step.by:
            continue
        caller, body = found(step.by)
        last = step.name.rpartition(".")[2]
        names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
        if last not in names | {node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute)}:
            raise LookupError(f"{step.by} does not name {last}")
        if not nx.has_path(imports(), caller, module):
            raise LookupError(f"{step.by} cannot reach {step.name} through imports")


def data() -> dict[str, Any]:
    """All that the pictures are drawn from."""
    for way in (WEIGHT, REQUEST):
        check(way)
    ways = {"weight": WEIGHT, "request": REQUEST}
    return {"rooms": house(), "ways": {name: [[step.name, step.by] for step in way] for name, way in ways.items()}}


# ---- pictures


def sheet(title: str, note: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A page with its title and note, and axes in inches over all of it."""
    figure = Figure(figsize=(WIDTH, height), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    place(axes, 0.45, height - 0.45, title, size=14, weight="bold")
    place(axes, 0.45, height - 0.72, note, size=8.5, colour=SOFT)
    return figure, axes


def place(axes: Axes, x: float, y: float, text: str, **more: Any) -> None:
    """Text at a place in inches."""
    write(axes, x, y, text, transform=axes.transData, **more)


def box(axes: Axes, left: float, bottom: float, width: float, height: float, colour: str) -> None:
    """A room or a step."""
    axes.add_patch(FancyBboxPatch(
        (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=INK, linewidth=0.9, zorder=2,
    ))  # fmt: skip


def arrow(axes: Axes, points: list[tuple[float, float]]) -> None:
    """A line through points, with a head at the last."""
    *before, start, end = points
    if before:
        axes.plot(*zip(*before, start, strict=True), color=SOFT, linewidth=1.0, zorder=1, solid_joinstyle="round")
    axes.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "color": SOFT, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}, zorder=1)  # fmt: skip


def layers(rooms: dict[str, dict[str, Any]]) -> tuple[list[list[str]], nx.DiGraph]:
    """Rooms by floor from the ground, in an order of few crossings, and arrows between neighbouring floors: those over
    several floors pass through narrow nodes of their own ("from>to@floor")."""
    graph = nx.DiGraph()
    floors: list[list[str]] = [[] for _ in range(1 + max(room["floor"] for room in rooms.values()))]
    for name, room in rooms.items():
        floors[room["floor"]].append(name)
        for below in room["imports"]:
            last = name
            for level in range(room["floor"] - 1, rooms[below]["floor"], -1):
                passing = f"{name}>{below}@{level}"
                floors[level].append(passing)
                graph.add_edge(last, passing)
                last = passing
            graph.add_edge(last, below)
    best, fewest = [list(floor) for floor in floors], _crossings(floors, graph)
    for sweep in range(24):
        downwards = sweep % 2 == 0
        order = range(len(floors) - 2, -1, -1) if downwards else range(1, len(floors))
        for level in order:
            beside = floors[level + 1] if downwards else floors[level - 1]
            at = {name: (index + 0.5) / len(beside) for index, name in enumerate(beside)}
            centre = {}
            for index, name in enumerate(floors[level]):
                near = [at[each] for each in (graph.predecessors(name) if downwards else graph.successors(name))]
                centre[name] = sum(near) / len(near) if near else (index + 0.5) / len(floors[level])
            floors[level].sort(key=lambda name: centre[name])
        if (count := _crossings(floors, graph)) < fewest:
            best, fewest = [list(floor) for floor in floors], count
    return best, graph


def _crossings(floors: list[list[str]], graph: nx.DiGraph) -> int:
    """How many pairs of arrows between neighbouring floors cross."""
    count = 0
    for upper, lower in zip(floors[1:], floors, strict=False):
        below = {name: index for index, name in enumerate(lower)}
        ends = [(index, below[each]) for index, name in enumerate(upper) for each in graph.successors(name)]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[i + 1 :])
    return count


def draw_house(rooms: dict[str, dict[str, Any]]) -> Figure:
    """Rooms on floors, and arrows from who imports to what is imported."""
    floors, graph = layers(rooms)
    figure, axes = sheet(
        "The house",
        "Rooms with their modules and lines of code. An arrow says: imports. Arrows that follow from others are left out.",
    )
    left, right, bottom, top = 0.45, WIDTH - 0.45, 0.35, HEIGHT - 0.95
    pitch = (top - bottom) / len(floors)
    height, gap, narrow = 0.70 * pitch, 0.3, 0.1
    at: dict[str, tuple[float, float, float]] = {}  # left, width, bottom
    for level, floor in enumerate(floors):
        real = [name for name in floor if name in rooms]
        least = {name: 0.25 + 0.087 * len(_headline(name, rooms[name])) for name in real}
        wanted = {name: max(least[name], min(9.0, 0.3 + LETTER * len(_told(name, rooms[name])) / 1.7)) for name in real}
        room = right - left - gap * (len(floor) - 1) - narrow * (len(floor) - len(real))
        more = sum(wanted.values()) - sum(least.values())  # than their headlines need
        share = min(1.0, (room - sum(least.values())) / more) if more else 0.0
        widths = {name: least[name] + share * (wanted[name] - least[name]) for name in real}
        spare = room - sum(widths.values())
        x = left + spare / (len(floor) + 1)
        for name in floor:
            width = widths.get(name, narrow)
            at[name] = (x, width, bottom + level * pitch)
            x += width + gap + spare / (len(floor) + 1)
    for name in rooms:
        x, width, y = at[name]
        box(axes, x, y, width, height, SHADES["hw" if name.startswith("hw") else ""])
        place(
            axes,
            x + 0.08,
            y + height - 0.16,
            _headline(name, rooms[name]),
            size=8.5,
            weight="bold",
        )
        for row, line in enumerate(_listed(name, rooms[name], width)):
            place(axes, x + 0.08, y + height - 0.295 - 0.12 * row, line, size=7)
    for name in rooms:
        for number, follower in enumerate(sorted(graph[name], key=lambda each: at[each][0])):
            points = [(_along(at[name], number, graph.out_degree(name)), at[name][2])]
            while follower not in rooms:
                x = at[follower][0] + narrow / 2
                points += [(x, at[follower][2] + height), (x, at[follower][2])]
                (follower,) = graph[follower]
            above = sorted((each for each in graph.predecessors(follower)), key=lambda each: at[each][0])
            came = next(each for each in above if each == name or each.startswith(f"{name}>{follower}@"))
            points.append((_along(at[follower], above.index(came), len(above)), at[follower][2] + height))
            arrow(axes, points)
    return figure


def _along(box_at: tuple[float, float, float], number: int, count: int) -> float:
    """Where the arrow of that number leaves or meets a box: spread over its middle."""
    left, width, _ = box_at
    return left + width * (0.5 + 0.7 * ((number + 0.5) / count - 0.5))


def _lines(count: int) -> str:
    """A number of lines, to two digits: it is to be right for more than a day."""
    step = 10 ** max(1, len(str(count)) - 2)
    return f"{round(count / step) * step:,} lines"


def _headline(name: str, room: dict[str, Any]) -> str:
    title = "hw, the door" if name == "hw" else f"{name}/" if (ROOT / name).is_dir() else f"{name}.py"
    return f"{title}  {_lines(room['lines'])}"


def _told(name: str, room: dict[str, Any]) -> str:
    """The room's modules, or where it is one module the beginning of its docstring."""
    if room["modules"] != ["__init__.py"] and (ROOT / name).is_dir():
        return "\u00a0· ".join(module.removesuffix(".py") for module in room["modules"] if module != "__init__.py")
    said = ast.get_docstring(source_of(name.replace("/", "."))) or ""
    return re.split(r"[:;,.(]\s", said.partition("\n")[0])[0].rstrip(".:;,")


def _listed(name: str, room: dict[str, Any], width: float) -> list[str]:
    """What the box tells, in at most two lines."""
    lines = textwrap.wrap(_told(name, room), int((width - 0.16) / LETTER))
    return lines if len(lines) < 3 else [lines[0], lines[1].removesuffix("\u00a0·") + " …"]


def draw_way(way: tuple[Step, ...], title: str, note: str) -> Figure:
    """Steps from top to bottom, each in the column of its room, with what happens at the left."""
    rooms = list(dict.fromkeys(room_of(found(step.name)[0]) for step in way))
    figure, axes = sheet(title, note)
    text, top, bottom = 4.05, HEIGHT - 1.25, 0.3  # inches: where lanes begin, and rows
    lane, pitch = (WIDTH - 0.35 - text) / len(rooms), (top - bottom) / len(way)
    height, width = 0.74 * pitch, lane - 0.14
    for number, room in enumerate(rooms):
        if number % 2 == 0:
            begin, foot, head = text + number * lane, 0.02, 1 - 0.98 / HEIGHT
            axes.axvspan(begin, begin + lane, foot, head, color=FAINT, alpha=0.55, linewidth=0, zorder=0)
        place(axes, text + (number + 0.5) * lane, top + 0.06, f"{room}/", size=9.5, weight="bold", align="center")
    middle: tuple[float, float] | None = None
    for number, step in enumerate(way):
        module, _ = found(step.name)
        y, x = top - (number + 0.5) * pitch - 0.02, text + (rooms.index(room_of(module)) + 0.5) * lane
        box(axes, x - width / 2, y - height / 2, width, height, PAPER)
        name = step.name.removeprefix(f"{module}.")
        place(axes, x, y + 0.035, name, size=min(7.6, 7.6 * 23 / len(name)), weight="bold", align="center", zorder=3)
        place(axes, x, y - 0.115, f"{module.rpartition('.')[2]}.py", size=7, colour=SOFT, align="center", zorder=3)
        rows = textwrap.wrap(step.what, 48)
        place(axes, 0.45, y, f"{number + 1}", size=9, weight="bold", vertical="center")
        place(axes, 0.8, y, "\n".join(rows), size=8.2, vertical="center", linespacing=1.15)
        if middle is not None:
            arrow(axes, _between(middle, (x, y), height / 2))
        middle = (x, y)
    return figure


def _between(start: tuple[float, float], end: tuple[float, float], half: float) -> list[tuple[float, float]]:
    """From the foot of one box to the head of the next, or from its middle, behind it, to the next one's column and down."""
    (x0, y0), (x1, y1) = start, (end[0], end[1] + half)
    return [(x0, y0 - half), (x1, y1)] if x0 == x1 else [(x0, y0), (x1, y0), (x1, y1)]


def draw() -> dict[str, Figure]:
    """The pictures by file name."""
    return {
        "house.png": draw_house(house()),
        "weight_way.png": draw_way(
            WEIGHT,
            "A weight's way",
            "From the model to what the chip computes with it: what happens, and the function or class that does it.",
        ),
        "request_way.png": draw_way(
            REQUEST,
            "A request's way",
            "From the traced network to the ledger: what happens, and the function or class that does it.",
        ),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "house.json").write_text(json.dumps(data(), indent=1) + "\n", "utf-8")
    for name, figure in draw().items():
        print(save_png(figure, folder / name).name)
