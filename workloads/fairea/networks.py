"""Networks of positions, and assignment problems made from them as FairEA's authors did.

Embedded networks come from networkx, so nothing is downloaded. Others are read from files: GraphML, or edges and
attributes as CSV. Synthetic ones: preferential attachment with homophily, functional and divisional organisation
charts. Every node has its attributes as strings; directions, weights and parallel edges of files are dropped,
self-loops kept.
"""

import io
import math
import warnings
from collections.abc import Hashable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import networkx as nx
import numpy as np

from xbar.workloads.fairea.metrics import assortativity
from xbar.workloads.fairea.problem import FaireaError, Problem, is_missing
from xbar.workloads.fairea.tables import read_table

# Net wealth in 1427, thousand lira, as the `flomarriage` data of the R package ergm have it; not compared with
# Padgett and Ansell, Am. J. Sociol. 98, 1259 (1993).
FLORENTINE_WEALTH = {
    "Acciaiuoli": 10, "Albizzi": 36, "Barbadori": 55, "Bischeri": 44, "Castellani": 20, "Ginori": 32, "Guadagni": 8,
    "Lamberteschi": 42, "Medici": 103, "Pazzi": 48, "Peruzzi": 49, "Ridolfi": 27, "Salviati": 10, "Strozzi": 146,
    "Tornabuoni": 48,
}  # fmt: skip


PREFIX = "file: "  # of attributes while GraphML is read


def _karate() -> nx.Graph:
    """34 members; `club`: the half that each joined."""
    graph = nx.Graph(nx.karate_club_graph().edges())
    nx.set_node_attributes(graph, dict(nx.karate_club_graph().nodes("club")), "club")
    return graph


def _davis() -> nx.Graph:
    """18 women, joined where they met at an event; `community` by modularity of how often they met."""
    full = nx.davis_southern_women_graph()
    women = [u for u, side in full.nodes("bipartite") if side == 0]
    met = nx.bipartite.weighted_projected_graph(full, women)
    ordered, number = nx.Graph(), {u: n for n, u in enumerate(women)}  # the projection's neighbours come from sets, in any order
    ordered.add_weighted_edges_from((u, v, met[u][v]["weight"]) for u in women for v in sorted(met[u], key=number.__getitem__))
    return _by_community(ordered, "weight")


def _florentine() -> nx.Graph:
    """15 families, joined by marriage; `wealth` above the median or not (`high`, `other`)."""
    graph = nx.florentine_families_graph()
    middle = float(np.median(list(FLORENTINE_WEALTH.values())))
    classes = {family: "high" if FLORENTINE_WEALTH[family] > middle else "other" for family in graph}
    nx.set_node_attributes(graph, classes, "wealth")
    return graph


def _les_miserables() -> nx.Graph:
    """77 characters, joined where they appear together; `community` by modularity of how often (several classes)."""
    return _by_community(nx.les_miserables_graph(), "weight")


def _by_community(graph: nx.Graph, weight: str) -> nx.Graph:
    found = nx.community.greedy_modularity_communities(graph, weight=weight)
    plain = nx.Graph(graph.edges())
    nx.set_node_attributes(plain, {u: str(n) for n, members in enumerate(found) for u in members}, "community")
    return plain


def _stream(purpose: str, seed: int) -> np.random.Generator:
    """A generator of its own for each purpose: one seed throughout must not make the draws depend on each other."""
    return np.random.default_rng([seed, *purpose.encode()])


EMBEDDED = {"karate": (_karate, "club"), "davis": (_davis, "community"), "florentine": (_florentine, "wealth"),
            "les-miserables": (_les_miserables, "community")}  # fmt: skip


def embedded(name: str) -> tuple[nx.Graph, str]:
    """An embedded network and the name of its attribute of interest; raises `FaireaError` for an unknown name."""
    if name not in EMBEDDED:
        raise FaireaError("network", name, f"must be one of {sorted(EMBEDDED)}")
    build, attribute = EMBEDDED[name]
    return build(), attribute


def read_organisation(folder: str | Path, least_weight: float | None = None) -> nx.Graph:
    """The network of a folder with `edges.csv` and `nodes.csv`, as in `read_tables`."""
    return read_tables(Path(folder) / "edges.csv", Path(folder) / "nodes.csv", least_weight)


def read_tables(edges: str | Path, nodes: str | Path, least_weight: float | None = None) -> nx.Graph:
    """The network of an edge list (columns source, target) and attributes (column id, then one each), as `tables` reads CSV files.

    A tie holds both ways and once, whatever the directions and however many rows it has; a column weight leaves ties of less
    than `least_weight` out, if given, and is of no other effect. Graph attribute `ties`: what was done, in words. Raises
    `FaireaError` for what is missing, double, or of no known node.
    """
    graph, people = nx.Graph(), read_table(nodes)
    key = people.column("id", "position", "node")
    for row in people:
        if row.text(key) in graph:
            raise row.wrong(key, "must not be given twice")
        graph.add_node(row.cells[key])
        graph.nodes[row.cells[key]].update((name, value) for name, value in row.cells.items() if name != key and value)
    table = read_table(edges)
    ends, weight = [table.column(name) for name in ("source", "target")], table.find("weight")
    if least_weight is not None and weight is None:
        raise FaireaError(f"{edges}, header", list(table.columns), "a least weight needs a column 'weight'")
    seen, light = set(), 0
    for row in table:
        for end in ends:
            if row.text(end) not in graph:
                raise row.wrong(end, f"must be an id of {nodes}")
        if least_weight is not None and row.number(str(weight)) < least_weight:
            light += 1
            continue
        pair = row.cells[ends[0]], row.cells[ends[1]]
        seen.add(pair)
        graph.add_edge(*pair)
    both = sum((target, source) in seen for source, target in seen if source != target) // 2
    graph.graph["ties"] = _told(len(table.rows), graph.number_of_edges(), both, light, least_weight, weight)
    return graph


def _told(rows: int, ties: int, both: int, light: int, least: float | None, weight: str | None) -> str:
    told = f"{rows:,} rows of edges are {ties:,} ties, each counted once and both ways"
    told += f"; {both:,} of them were given in both directions" if both else ""
    if least is not None:
        told += f"; {light:,} rows of a weight below {least:g} are left out"
    elif weight is not None:
        told += "; weights are of no effect"
    return told


def read_graphml(path: str | Path) -> nx.Graph:
    """The network of a GraphML file, undirected, with its node attributes as strings; raises `FaireaError`."""
    try:
        tree = ElementTree.parse(path)
        for key in tree.iter():
            if key.tag.endswith("}key") and "attr.name" in key.attrib:  # else one that is called as an argument of networkx's is refused
                key.set("attr.name", PREFIX + key.get("attr.name", ""))
        with warnings.catch_warnings():  # of attributes without a type, which become text as all others do
            warnings.simplefilter("ignore", UserWarning)
            found = nx.read_graphml(io.BytesIO(ElementTree.tostring(tree.getroot())))
    except (OSError, ElementTree.ParseError, nx.NetworkXError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise FaireaError("file", str(path), f"must be a readable GraphML file ({error})") from error
    graph = nx.Graph(found.edges() if not found.is_multigraph() else [(u, v) for u, v, _ in found.edges(keys=True)])
    for node, attributes in found.nodes(data=True):
        graph.add_node(node)  # an attribute may be called as an argument of this method is
        graph.nodes[node].update((name.removeprefix(PREFIX), str(value)) for name, value in attributes.items() if not is_missing(value))
    if not len(graph):
        raise FaireaError("file", str(path), "must have nodes")
    return graph


def scale_free(
    size: int, minority_share: float, assortativity_target: float, *, seed: int, edges_per_node: int = 4,
    tolerance: float = 0.01,
) -> nx.Graph:  # fmt: skip
    """Preferential attachment with homophily; `class` is `minority` or `majority`.

    A newcomer picks each of its neighbours with probability proportional to degree, times h for its own class and 1 - h
    for the other (F. Karimi et al., Sci. Rep. 8, 11077 (2018)). h is found by halving on at most 1,000 nodes, then
    classes of pairs of nodes are exchanged until `assortativity_target` is met to `tolerance`. Raises `FaireaError`
    where it cannot be.
    """
    _check_synthetic(size, minority_share, assortativity_target, least=edges_per_node + 2)
    low, high, trial = 0.01, 0.99, min(size, 1000)
    for _ in range(7):
        homophily = (low + high) / 2
        found = _attach(trial, minority_share, homophily, edges_per_node, seed)
        below = assortativity(found, nx.get_node_attributes(found, "class")) < assortativity_target
        low, high = (homophily, high) if below else (low, homophily)
    graph = _attach(size, minority_share, (low + high) / 2, edges_per_node, seed)
    return _tuned(graph, assortativity_target, tolerance, seed)


def _attach(size: int, minority_share: float, homophily: float, edges_per_node: int, seed: int) -> nx.Graph:
    rng = _stream("attach", seed)
    group = np.zeros(size, np.int64)
    group[rng.permutation(size)[: _members(size, minority_share)]] = 1
    graph = nx.Graph()
    ends: tuple[list[int], list[int]] = [], []  # by class: its nodes, each as often as it has edges
    for u in range(edges_per_node + 1):
        for v in range(u):
            graph.add_edge(u, v)
            ends[group[u]].append(u)
            ends[group[v]].append(v)
    for u in range(edges_per_node + 1, size):
        own, chosen = int(group[u]), set[int]()
        weight = [(homophily if g == own else 1 - homophily) * len(ends[g]) for g in (0, 1)]
        share, draws = weight[1] / (weight[0] + weight[1]), 0
        while len(chosen) < edges_per_node:
            draws += 1
            pool = ends[int(rng.random() < share) if draws < 50 * edges_per_node else int(rng.integers(2))]
            if pool:
                chosen.add(pool[int(rng.integers(len(pool)))])
        for v in sorted(chosen):
            graph.add_edge(u, v)
            ends[own].append(u)
            ends[int(group[v])].append(v)
    nx.set_node_attributes(graph, {u: "minority" if group[u] else "majority" for u in range(size)}, "class")
    return graph


def functional_chart(
    size: int, minority_share: float, assortativity_target: float, *, seed: int, functions: int = 6, team: int = 10,
    tolerance: float = 0.01,
) -> nx.Graph:  # fmt: skip
    """An organisation by function: a head, a head of each function, leads of teams; teams are cliques around their lead.

    Heads know each other, and so do the leads of a function. Attributes: `department` (`top` or a function), `level` (`head`,
    `department head`, `lead`, `member`), `class`. `size` counts everybody.
    """
    return _chart(size, minority_share, assortativity_target, seed, functions, team, tolerance, "function", False)


def divisional_chart(
    size: int, minority_share: float, assortativity_target: float, *, seed: int, divisions: int = 5, team: int = 10,
    tolerance: float = 0.01,
) -> nx.Graph:  # fmt: skip
    """An organisation by division: as `functional_chart`, but divisions' leads answer to their own head alone.

    Leads of a division do not know each other, nor do the heads of divisions; they meet at the head above.
    """
    return _chart(size, minority_share, assortativity_target, seed, divisions, team, tolerance, "division", True)


def _chart(
    size: int, minority_share: float, target: float, seed: int, departments: int, team: int, tolerance: float, name: str,
    apart: bool,
) -> nx.Graph:  # fmt: skip
    for field, value in (("departments", departments), ("team", team)):
        if value < 1:
            raise FaireaError(field, value, "must be at least 1")
    _check_synthetic(size, minority_share, target, least=1 + 2 * departments)
    graph = nx.Graph()
    graph.add_node(0, department="top", level="head")
    heads = []
    shares = np.array_split(np.arange(1, size), departments)  # each department's people
    for number, people in enumerate(shares, start=1):
        head, *others = people.tolist()
        heads.append(head)
        graph.add_node(head, department=f"{name} {number}", level="department head")
        graph.add_edge(0, head)
        leads = []
        for start in range(0, len(others), team + 1):
            lead, *members = others[start : start + team + 1]
            leads.append(lead)
            graph.add_node(lead, department=f"{name} {number}", level="lead")
            graph.add_nodes_from(members, department=f"{name} {number}", level="member")
            graph.add_edge(head, lead)
            graph.add_edges_from(combinations([lead, *members], 2))
        if not apart:
            graph.add_edges_from(combinations(leads, 2))
    if not apart:
        graph.add_edges_from(combinations(heads, 2))
    minority = _members(size, minority_share)
    order = _stream("chart", seed).permutation(size)
    if target > 0.1:
        order = np.arange(size)[::-1]  # segregated: whole departments
    chosen = set(order[:minority].tolist())
    nx.set_node_attributes(graph, {u: "minority" if u in chosen else "majority" for u in graph}, "class")
    return _tuned(graph, target, tolerance, seed)


def _members(size: int, share: float) -> int:
    return min(max(1, round(size * share)), size - 1)


def _check_synthetic(size: int, minority_share: float, target: float, least: int) -> None:
    if size < least:
        raise FaireaError("size", size, f"must be at least {least}")
    if not 0 < minority_share <= 0.5:
        raise FaireaError("minority_share", minority_share, "must be above 0 and at most 0.5")
    if not -1 <= target <= 1:
        raise FaireaError("assortativity_target", target, "must be from -1 to 1")


def _tuned(graph: nx.Graph, target: float, tolerance: float, seed: int) -> nx.Graph:
    """The graph with classes of pairs exchanged until r is the target, to the tolerance."""
    rng = _stream("tune", seed)
    nodes = list(graph)
    labels = np.array([graph.nodes[u]["class"] == "minority" for u in nodes], np.int64)
    adjacency = nx.to_scipy_sparse_array(graph, nodes, dtype=np.int64, format="csr")
    degree = adjacency.sum(1)
    total, ends = int(degree.sum()), int(degree[labels == 1].sum())  # edge ends: all, and at the minority
    beside = adjacency @ labels  # neighbours of the minority
    inside = int(beside[labels == 1].sum())  # ends within the minority

    def r_of(inside: int, ends: int) -> float:
        square = ends**2 + (total - ends) ** 2
        return (total * (inside + total - 2 * ends + inside) - square) / (total * total - square)

    r, since = r_of(inside, ends), 0
    rare, common = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    while abs(r - target) > tolerance and since < 20_000:
        i, j = int(rng.integers(len(rare))), int(rng.integers(len(common)))
        u, v = int(rare[i]), int(common[j])
        near = int(adjacency[u, v])
        new_inside = inside - 2 * int(beside[u]) + 2 * (int(beside[v]) - near)
        new_ends = ends - int(degree[u]) + int(degree[v])
        new_r = r_of(new_inside, new_ends)
        since += 1
        if abs(new_r - target) < abs(r - target):
            r, inside, ends, since = new_r, new_inside, new_ends, 0
            for node, sign in ((u, -1), (v, 1)):
                beside[adjacency.indices[adjacency.indptr[node] : adjacency.indptr[node + 1]]] += sign
            rare[i], common[j] = v, u
    if abs(r - target) > tolerance:
        raise FaireaError("assortativity_target", target, f"this network was brought to {r:.3f} only")
    chosen = set(rare.tolist())
    nx.set_node_attributes(graph, {u: "minority" if n in chosen else "majority" for n, u in enumerate(nodes)}, "class")
    return graph


def open_at_random(graph: nx.Graph, share: float, *, seed: int) -> list[Hashable]:
    """int(nodes x share) positions, one at least, drawn without replacement."""
    nodes = list(graph)
    picked = _stream("open", seed).permutation(len(nodes))[: _opened(graph, share)]
    return [nodes[n] for n in picked]


def open_by_degree(graph: nx.Graph, share: float) -> list[Hashable]:
    """int(nodes x share) positions of the largest degree, one at least; the first in the graph of equals."""
    return sorted(graph, key=lambda u: -graph.degree(u))[: _opened(graph, share)]


def open_department(graph: nx.Graph, attribute: str, department: Hashable) -> list[Hashable]:
    """All positions with this value of an attribute; raises `FaireaError` where there is none, or nothing else."""
    opened = [u for u, value in graph.nodes(attribute) if value == department]
    known = sorted({str(value) for _, value in graph.nodes(attribute) if value is not None})
    if not opened or len(opened) == len(graph):
        raise FaireaError(attribute, department, f"must be one of several values: {known}")
    return opened


def _opened(graph: nx.Graph, share: float) -> int:
    if not 0 < share < 1:
        raise FaireaError("share", share, "must be above 0 and below 1")
    return max(1, int(len(graph) * share))


def candidate_pool(
    graph: nx.Graph, attribute: str, open_positions: Sequence[Hashable], times: int = 1
) -> dict[Hashable, Hashable]:
    """{c0, c1, ...: class}: the classes of those who held the open positions, the whole pool `times` over."""
    if times < 1:
        raise FaireaError("times", times, "must be at least 1")
    held = []
    for position in open_positions:
        if is_missing(graph.nodes[position].get(attribute)):
            raise FaireaError(f"{attribute} of {position!r}", None, "whoever held an open position needs a class")
        held.append(graph.nodes[position][attribute])
    return {f"c{n}": group for n, group in enumerate(held * times)}


def draw_fitness(
    graph: nx.Graph, open_positions: Sequence[Hashable], candidates: Sequence[Hashable], kind: Literal["F1", "F2"], *,
    seed: int,
) -> dict[tuple[Hashable, Hashable], float]:  # fmt: skip
    """Fitness of FairEA's experiments: uniform from 0 to 1, in tenths, for pairs that qualify.

    A random one-to-one matching qualifies. F1: so do 4 random open positions for each candidate. F2: so do, for each
    candidate of that matching, the 4 open positions nearest by path to its own (candidates outside it qualify for
    nothing, as in the authors' files); equally near ones in the given order.
    """
    if kind not in ("F1", "F2"):
        raise FaireaError("kind", kind, "must be 'F1' or 'F2'")
    rng = _stream("fitness", seed)
    positions, people = list(open_positions), list(candidates)
    pairs = min(len(positions), len(people))
    first = dict(zip(rng.permutation(len(people))[:pairs].tolist(), rng.permutation(len(positions))[:pairs].tolist(), strict=True))
    qualified = dict.fromkeys((positions[i], people[j]) for j, i in first.items())
    more = min(4, len(positions) - 1)
    for j, candidate in enumerate(people):
        if kind == "F1":
            extra = rng.permutation(len(positions))[: min(4, len(positions))].tolist()
        elif j in first:
            far = nx.single_source_shortest_path_length(graph, positions[first[j]])
            others = [i for i in range(len(positions)) if i != first[j]]
            extra = sorted(others, key=lambda i: far.get(positions[i], math.inf))[:more]
        else:
            extra = []
        qualified.update(dict.fromkeys((positions[i], candidate) for i in extra))
    return {pair: round(float(rng.random()), 1) for pair in qualified}


def make_problem(
    graph: nx.Graph, attribute: str, open_positions: Sequence[Hashable], *, pool: int = 1, kind: Literal["F1", "F2"] = "F1",
    seed: int,
) -> Problem:  # fmt: skip
    """The authors' kind of problem on any network: candidates from the open positions' holders, fitness F1 or F2."""
    candidates = candidate_pool(graph, attribute, open_positions, pool)
    fitness = draw_fitness(graph, open_positions, list(candidates), kind, seed=seed)
    return Problem(graph, nx.get_node_attributes(graph, attribute), open_positions, candidates, fitness)
