"""An organisation's own question, from its files: who is there, which positions are open, who may fill them, how well.

A folder holds nodes.csv (id, attributes), edges.csv (source, target), candidates.csv (id, attributes), and fitness.csv or
outcomes.csv; positions.csv (position) names open ones, without it those are open whose attributes of interest are empty.
`templates` writes such a folder. fitness.csv is a list (position, candidate, fitness), where an absent pair does not
qualify, or a matrix whose first column is `position` or `candidate`, where an empty cell does not. Of outcomes.csv the
scoring network learns fitness: see `learned`.

People are classed by one attribute, or by several at once: then a class is an intersection, as in "woman & Boston", and
every measure is also told attribute by attribute. Only ids and these attributes go on; other columns are not kept.

Not modelled: candidates who leave a position of the network (one of the same id is another person), and ties that change
with who is hired.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np

from xbar.workloads.fairea.learned import Learned, learn
from xbar.workloads.fairea.networks import read_graphml, read_organisation
from xbar.workloads.fairea.problem import FaireaError, Floats, Problem
from xbar.workloads.fairea.tables import Row, Table, read_table

JOINT = " & "  # between the attributes of an intersection
MOST_PAIRS = 10_000_000  # open positions times candidates, of which every method keeps tables


@dataclass(frozen=True)
class OwnFiles:
    """Where an organisation's files are; those that are None are taken from the folder `data`, where it has them.

    data: a folder, or a GraphML file; least_fitness: below which a pair does not qualify; least_weight: below which a tie is none.
    """

    data: Path
    positions: Path | None = None
    candidates: Path | None = None
    fitness: Path | None = None
    outcomes: Path | None = None
    least_fitness: float | None = None
    least_weight: float | None = None

    def path(self, name: str) -> Path | None:
        """The file of that name, None where there is none."""
        given = getattr(self, name)
        if given is not None:
            return Path(given)
        beside = self.data / f"{name}.csv"
        return beside if self.data.is_dir() and beside.is_file() else None

    @property
    def own(self) -> bool:
        """Whether candidates are the organisation's own, and not to be made up."""
        return any(self.path(name) is not None for name in ("candidates", "fitness", "outcomes"))


@dataclass(frozen=True, eq=False)
class Case:
    """The question: `problem` by the classes of interest; `by_attribute`: the same problem by each attribute, and by their
    intersection where there are several; told: what was made of the files, a sentence each; learned: where fitness came from
    outcomes."""

    name: str
    attribute: str
    problem: Problem
    by_attribute: Mapping[str, Problem]
    told: tuple[str, ...]
    learned: Learned | None = None


def joined(graph: nx.Graph, attributes: Sequence[str]) -> str:
    """The node attribute that stands for these: the one, or their intersection, which is added to the graph where all are known."""
    if len(attributes) == 1:
        return attributes[0]
    name = JOINT.join(attributes)
    for u, values in graph.nodes(data=True):
        if all(values.get(each) for each in attributes):
            graph.nodes[u][name] = JOINT.join(values[each] for each in attributes)
    return name


def read_network(files: OwnFiles) -> nx.Graph:
    """The network of a folder or a GraphML file; raises `FaireaError`."""
    return read_organisation(files.data, files.least_weight) if files.data.is_dir() else read_graphml(files.data)


def open_positions(files: OwnFiles, graph: nx.Graph, attributes: Sequence[str]) -> list[str]:
    """Those that positions.csv names, else those without any of the attributes; raises `FaireaError` for others without one."""
    path = files.path("positions")
    if path is None:
        opened = [u for u, values in graph.nodes(data=True) if not any(values.get(each) for each in attributes)]
    else:
        table = read_table(path)
        key, found = table.column("position", "id"), dict[str, None]()
        for row in table:
            if row.text(key) not in graph:
                raise row.wrong(key, "must be a position of the network")
            if row.cells[key] in found:
                raise row.wrong(key, "must not be given twice")
            found[row.cells[key]] = None
        opened = list(found)
    is_open = set(opened)
    for u, values in graph.nodes(data=True):
        for attribute in attributes:
            if u not in is_open and not values.get(attribute):
                where = "a filled position needs a class; name it in positions.csv if it is open, or leave all its attributes empty"
                raise _of_node(files, u, attribute, where)
    return opened


def _of_node(files: OwnFiles, node: str, attribute: str, allowed: str) -> FaireaError:
    """An error about a node's attribute, with its line where the network came from CSV."""
    if files.data.is_dir():
        table = read_table(files.data / "nodes.csv")
        key = table.column("id", "position", "node")
        return next(row for row in table if row.cells[key] == node).wrong(attribute, f"{allowed} (id {node})")
    return FaireaError(f"{files.data}, {attribute} of {node}", "", allowed)


def read_case(files: OwnFiles, attributes: Sequence[str], seed: int = 0) -> Case:
    """The question of these files, people classed by `attributes`; `seed` is that of learning from outcomes. Raises `FaireaError`."""
    graph = read_network(files)
    check_attributes(files, graph, attributes)
    opened = open_positions(files, graph, attributes)
    if not opened:
        told = "no position is open: name open ones in positions.csv (or --open), or leave their attributes empty in nodes.csv"
        raise FaireaError("open positions", str(files.data), told)
    path = files.path("candidates")
    if path is None:
        raise FaireaError("candidates", str(files.data), "candidates.csv (or --candidates) is needed beside fitness and outcomes")
    people = read_table(path)
    candidates = _candidates(people, graph, attributes)
    weights, told, learned = _fitness(files, people, opened, candidates, attributes, seed)
    if files.least_fitness is not None:
        weights = np.where(weights >= files.least_fitness, weights, np.nan)  # NaN stays
    if np.isnan(weights).all():
        raise FaireaError("fitness", str(files.data), "nobody qualifies for any open position")
    names = {each: [each] for each in attributes} | {JOINT.join(attributes): attributes}
    is_open, by_attribute = set(opened), {}
    for name, parts in names.items():
        held = {u: JOINT.join(values[each] for each in parts) for u, values in graph.nodes(data=True) if u not in is_open}
        groups = {who: JOINT.join(values[each] for each in parts) for who, values in candidates.items()}
        by_attribute[name] = Problem(graph, held, opened, groups, weights)
    ties = [graph.graph["ties"]] if "ties" in graph.graph else []
    name = JOINT.join(attributes)
    return Case(files.data.stem, name, by_attribute[name], by_attribute,
                (*ties, *told, *_left_out(files, graph, opened, candidates, weights, attributes)), learned)  # fmt: skip


def check_attributes(files: OwnFiles, graph: nx.Graph, attributes: Sequence[str]) -> None:
    """Raises `FaireaError` for an attribute that nobody has, or that is named twice."""
    known = sorted({name for _, values in graph.nodes(data=True) for name in values})
    for attribute in attributes:
        if attribute not in known:
            raise FaireaError("attribute", attribute, f"must be one of {known}, which people of {files.data} have")
        if list(attributes).count(attribute) > 1:
            raise FaireaError("attribute", attribute, "must not be given twice")


def _candidates(table: Table, graph: nx.Graph, attributes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Attributes of interest of each candidate. A class that differs from a known one by case or spaces alone is refused."""
    key = table.column("id", "candidate")
    columns = {attribute: table.column(attribute) for attribute in attributes}
    known = {name: {str(values.get(name)).casefold(): str(values.get(name)) for _, values in graph.nodes(data=True)} for name in attributes}
    found: dict[str, dict[str, str]] = {}
    for row in table:
        if row.text(key) in found:
            raise row.wrong(key, "must not be given twice")
        for attribute, column in columns.items():
            other = known[attribute].setdefault(row.text(column).casefold(), row.cells[column])
            if other != row.cells[column]:
                raise row.wrong(column, f"the same class is written {other!r} elsewhere")
        found[row.cells[key]] = {attribute: row.cells[column] for attribute, column in columns.items()}
    return found


def _fitness(
    files: OwnFiles, people: Table, opened: Sequence[str], candidates: Mapping[str, object], attributes: Sequence[str], seed: int,
) -> tuple[Floats, list[str], Learned | None]:  # fmt: skip
    """(open positions, candidates) fitness, NaN where not qualified; what was done in words."""
    path, past = files.path("fitness"), files.path("outcomes")
    weights = None if path is None else _read_fitness(read_table(path), opened, list(candidates))
    if past is None and weights is None:
        raise FaireaError("fitness", str(files.data), "fitness.csv (or --fitness), or outcomes.csv to learn fitness from, is needed")
    if past is None:
        return weights, [], None  # type: ignore[return-value]
    places = files.path("positions")
    learned = learn(read_table(past), people, None if places is None else read_table(places), list(candidates), opened, attributes, seed)
    told = [learned.told]
    found = learned.fitness
    if weights is not None:  # says who qualifies
        found = np.where(np.isnan(weights), np.nan, found)
        told.append(f"{path} says who qualifies; its numbers are not used, as fitness is learned")
    return found, told, learned


def _read_fitness(table: Table, opened: Sequence[str], candidates: Sequence[str]) -> Floats:
    """(open positions, candidates), NaN where nobody said that the candidate qualifies."""
    places, people = ({name: n for n, name in enumerate(names)} for names in (opened, candidates))
    if len(places) * len(people) > MOST_PAIRS:
        told = f"must be {MOST_PAIRS:,} at most; larger questions are asked from Python, of pairs alone (xbar.workloads.fairea.large)"
        raise FaireaError("open positions times candidates", f"{len(places):,} x {len(people):,}", told)
    weights = np.full((len(places), len(people)), np.nan)
    position, candidate, value = (table.find(*names) for names in (("position",), ("candidate",), ("fitness", "score")))
    if position and candidate and value:
        for row in table:
            i, j = _known(row, position, places, "an open position"), _known(row, candidate, people, "an id of the candidates")
            if not np.isnan(weights[i, j]):
                raise row.wrong(candidate, f"position {row.cells[position]} and this candidate must not be given twice")
            weights[i, j] = row.number(value)
        return weights
    first = table.columns[0]
    if first.casefold() not in ("position", "candidate"):
        form = "must be position, candidate, fitness, or a matrix whose first column is `position` or `candidate`"
        raise FaireaError(f"{table.file}, header", list(table.columns[:4]), form)
    by_position = first.casefold() == "position"
    rows, across = (places, people) if by_position else (people, places)
    what = ("an open position", "an id of the candidates")
    for name in table.columns[1:]:
        if name not in across:
            raise FaireaError(f"{table.file}, header", name, f"must be {what[by_position]}")
    seen = set()
    for row in table:
        i = _known(row, first, rows, what[not by_position])
        if i in seen:
            raise row.wrong(first, "must not be given twice")
        seen.add(i)
        for name in table.columns[1:]:
            if row.cells[name]:
                at = (i, across[name]) if by_position else (across[name], i)
                weights[at] = row.number(name)
    return weights


def _known(row: Row, column: str, known: Mapping[str, int], what: str) -> int:
    if row.text(column) not in known:
        raise row.wrong(column, f"must be {what}")
    return known[row.cells[column]]


def _left_out(
    files: OwnFiles, graph: nx.Graph, opened: Sequence[str], candidates: Iterable[str], weights: Floats, attributes: Sequence[str]
) -> list[str]:
    """What a reader should know of the files before reading results."""
    told = []
    able = ~np.isnan(weights)
    if files.path("positions") is None:
        told.append(f"{len(opened)} positions have no {' and no '.join(attributes)}, and are taken for open ones")
    if files.least_fitness is not None:
        told.append(f"pairs of a fitness below {files.least_fitness:g} do not qualify")
    nobody, nowhere = int((~able.any(1)).sum()), int((~able.any(0)).sum())
    if nobody:
        told.append(f"for {nobody} of {len(opened)} open positions nobody qualifies, so they stay open")
    if nowhere:
        told.append(f"{nowhere} of {able.shape[1]} candidates qualify for no position")
    same = sum(who in graph for who in candidates)
    if same:
        told.append(f"{same} candidates have the id of a position; they are taken for people who hold none")
    alone = sum(1 for u in graph if not any(v != u for v in graph[u]))
    if alone:
        told.append(f"{alone} of {len(graph)} positions have no tie")
    return told
