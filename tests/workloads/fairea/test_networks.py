"""Networks and the problems made from them have what was asked; broken files are named."""

import networkx as nx
import pytest

from xbar.workloads.fairea.metrics import assortativity, group_shares
from xbar.workloads.fairea.networks import (
    EMBEDDED,
    candidate_pool,
    divisional_chart,
    draw_fitness,
    embedded,
    functional_chart,
    make_problem,
    open_at_random,
    open_by_degree,
    open_department,
    read_graphml,
    read_organisation,
    read_tables,
    scale_free,
)
from xbar.workloads.fairea.problem import FaireaError


@pytest.mark.parametrize(
    ("name", "nodes", "edges"), [("karate", 34, 78), ("davis", 18, 139), ("florentine", 15, 20), ("les-miserables", 77, 254)]
)
def test_embedded_networks(name, nodes, edges) -> None:
    graph, attribute = embedded(name)
    assert (len(graph), graph.number_of_edges()) == (nodes, edges)
    groups = nx.get_node_attributes(graph, attribute)
    assert len(groups) == nodes
    assert len(set(groups.values())) >= 2
    problem = make_problem(graph, attribute, open_at_random(graph, 0.2, seed=0), seed=0)
    assert len(problem.open_positions) == int(0.2 * nodes)


def test_karate_has_the_clubs_that_were_joined() -> None:
    graph, attribute = embedded("karate")
    assert attribute == "club"
    assert group_shares(nx.get_node_attributes(graph, "club")) == {"Mr. Hi": 0.5, "Officer": 0.5}
    assert len(EMBEDDED) == 4
    with pytest.raises(FaireaError, match="network = 'zachary': must be one of"):
        embedded("zachary")


CHARTS = [scale_free, functional_chart, divisional_chart]


@pytest.mark.parametrize("build", CHARTS)
@pytest.mark.parametrize(("size", "share", "target"), [(200, 0.3, 0.5), (150, 0.2, 0.0), (300, 0.5, 0.7)])
def test_synthetic_networks_have_size_share_and_assortativity(build, size, share, target) -> None:
    graph = build(size, share, target, seed=4)
    groups = nx.get_node_attributes(graph, "class")
    assert len(graph) == len(groups) == size
    assert nx.is_connected(graph)
    assert group_shares(groups)["minority"] == share
    assert assortativity(graph, groups) == pytest.approx(target, abs=0.01)
    again = build(size, share, target, seed=4)
    assert nx.utils.graphs_equal(graph, again)
    assert not nx.utils.graphs_equal(graph, build(size, share, target, seed=5))


@pytest.mark.parametrize("build", CHARTS)
@pytest.mark.parametrize(
    ("given", "field"),
    [((3, 0.3, 0.1), "size"), ((100, 0.0, 0.1), "minority_share"), ((100, 0.3, 1.5), "assortativity_target")],
)
def test_impossible_networks_are_named(build, given, field) -> None:
    with pytest.raises(FaireaError, match=f"^{field} = "):
        build(*given, seed=0)


def test_an_assortativity_out_of_reach_is_named() -> None:
    with pytest.raises(FaireaError, match=r"assortativity_target = -0.9: this network was brought to -0"):
        functional_chart(60, 0.3, -0.9, seed=0)


def test_charts_have_departments_of_like_size_and_levels() -> None:
    graph = functional_chart(121, 0.3, 0.2, seed=0, functions=6)
    departments = [sum(d == f"function {n}" for _, d in graph.nodes("department")) for n in range(1, 7)]
    assert departments == [20] * 6
    opened = open_department(graph, "department", "function 2")
    assert len(opened) == 20
    heads = [u for u, level in graph.nodes("level") if level == "department head"]
    assert graph.subgraph(heads).number_of_edges() == 15  # all six know each other
    apart = divisional_chart(121, 0.3, 0.2, seed=0, divisions=6)
    assert apart.subgraph(heads).number_of_edges() == 0
    assert set(apart[0]) == set(heads)


def test_openings() -> None:
    graph = nx.star_graph(9)
    assert open_by_degree(graph, 0.1) == [0]
    assert open_by_degree(graph, 0.3)[0] == 0
    assert len(open_by_degree(graph, 0.3)) == 3
    drawn = [open_at_random(graph, 0.5, seed=seed) for seed in range(20)]
    assert all(len(set(opened)) == 5 for opened in drawn)
    assert len({tuple(sorted(opened)) for opened in drawn}) > 10
    assert open_at_random(graph, 0.01, seed=0) != []
    with pytest.raises(FaireaError, match=r"share = 1\.0"):
        open_at_random(graph, 1.0, seed=0)
    nx.set_node_attributes(graph, {u: "it" if u < 4 else "hr" for u in graph}, "unit")
    assert open_department(graph, "unit", "it") == [0, 1, 2, 3]
    with pytest.raises(FaireaError, match=r"unit = 'law': must be one of several values: \['hr', 'it'\]"):
        open_department(graph, "unit", "law")


def test_one_seed_for_network_and_openings_does_not_open_one_class() -> None:
    graph = scale_free(400, 0.3, 0.2, seed=0)
    held = set(candidate_pool(graph, "class", open_at_random(graph, 0.1, seed=0)).values())
    assert held == {"minority", "majority"}  # of 40 at random: one class has odds below 1e-6


def test_pools_hold_the_classes_of_who_left() -> None:
    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, {0: "a", 1: "b", 2: "a", 3: "a"}, "g")
    assert list(candidate_pool(graph, "g", [1, 3]).values()) == ["b", "a"]
    assert list(candidate_pool(graph, "g", [1, 3], times=2).values()) == ["b", "a", "b", "a"]
    with pytest.raises(FaireaError, match="h of 1"):
        candidate_pool(graph, "h", [1])


@pytest.mark.parametrize("times", [1, 2])
def test_fitness_functions_qualify_whom_they_should(times) -> None:
    graph = nx.path_graph(30)
    opened, people = list(range(0, 30, 3)), [f"c{j}" for j in range(10 * times)]
    one = draw_fitness(graph, opened, people, "F1", seed=1)
    two = draw_fitness(graph, opened, people, "F2", seed=1)
    for fitness in (one, two):
        assert all(0 <= value <= 1 and round(value, 1) == value for value in fitness.values())
        pairs = nx.Graph([(("p", u), ("c", c)) for u, c in fitness])
        assert len(nx.bipartite.maximum_matching(pairs, [n for n in pairs if n[0] == "p"])) == 20  # all can be filled
    count = {c: sum(pair[1] == c for pair in one) for c in people}
    assert set(count.values()) <= {4, 5}
    for c in people:
        near = sorted(u for u, other in two if other == c)
        assert len(near) in ((0, 5) if times == 2 else (5,))
        assert not near or near[-1] - near[0] <= 15  # on a path, the four nearest are within four steps of 3, or 5 at an end
    with pytest.raises(FaireaError, match="kind = 'F3'"):
        draw_fitness(graph, opened, people, "F3", seed=1)


def tables(folder, edges="source,target,weight\n1,2,5\n2,3,1\n3,1,2\n3,3,1\n", nodes="id,sex\n1,f\n2,m\n3,\n"):
    (folder / "edges.csv").write_text(edges, "utf-8")
    (folder / "nodes.csv").write_text(nodes, "utf-8")
    return folder


def test_tables_are_read_as_an_undirected_network(tmp_path) -> None:
    graph = read_organisation(tables(tmp_path))
    assert {frozenset(edge) for edge in graph.edges()} == {frozenset(e) for e in ("12", "23", "13", "3")}
    assert dict(graph.nodes("sex")) == {"1": "f", "2": "m", "3": None}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"edges": "source,target\n1,9\n"}, r"edges.csv, line 2, target = '9': must be an id"),
        ({"edges": "from,to\n1,2\n"}, "edges.csv, header = .*needs a column 'source'"),
        ({"edges": "source,target\n1\n"}, "edges.csv, line 2 = .*must have 2 columns"),
        ({"edges": "source,target\n1,2,3\n"}, "edges.csv, line 2 = .*must have 2 columns"),
        ({"nodes": "id,sex\n1,f\n1,m\n"}, r"nodes.csv, line 3, id = '1': must not be given twice"),
        ({"nodes": "id,sex\n,f\n"}, r"nodes.csv, line 2, id = '': must not be empty"),
        ({"nodes": ""}, "nodes.csv, header"),
        ({"nodes": 'id,sex\n1,"f\n'}, "nodes.csv.*must be CSV"),
    ],
)
def test_broken_tables_are_named(tmp_path, files, reason) -> None:
    with pytest.raises(FaireaError, match=reason):
        read_organisation(tables(tmp_path, **files))


def test_missing_and_binary_files_are_named(tmp_path) -> None:
    with pytest.raises(FaireaError, match=r"nodes\.csv"):
        read_organisation(tmp_path)
    folder = tables(tmp_path)
    (folder / "edges.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FaireaError, match=r"edges.csv': must be a readable CSV file in UTF-8"):
        read_tables(folder / "edges.csv", folder / "nodes.csv")


def test_graphml_is_read_back(tmp_path) -> None:
    graph, attribute = embedded("karate")
    nx.write_graphml(graph, tmp_path / "karate.graphml")
    found = read_graphml(tmp_path / "karate.graphml")
    assert {frozenset(e) for e in found.edges()} == {frozenset(map(str, e)) for e in graph.edges()}
    assert dict(found.nodes(attribute)) == {str(u): value for u, value in graph.nodes(attribute)}
    (tmp_path / "broken.graphml").write_text("<graphml><graph>", "utf-8")
    for name in ("broken.graphml", "absent.graphml"):
        with pytest.raises(FaireaError, match=f"file = .*{name}"):
            read_graphml(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "attribute", "nodes", "edges", "r"),
    [("consulting", "region", 46, 550, 0.3764), ("norway-boards-2008-10", "gender", 1522, 4143, -0.189)],
)
def test_organisations_have_their_stated_assortativity(shared_data, name, attribute, nodes, edges, r) -> None:
    folder = shared_data / "orgnets" / name
    if not folder.is_dir():
        pytest.skip(f"no organisational network at {folder}")
    graph = read_organisation(folder)
    assert (len(graph), graph.number_of_edges()) == (nodes, edges)
    assert assortativity(graph, nx.get_node_attributes(graph, attribute)) == pytest.approx(r, abs=5e-4)


def test_ties_of_davis_come_in_the_order_of_its_women() -> None:
    """The projection makes them from sets of strings, whose order differs from process to process, and classes with it."""
    graph, _ = embedded("davis")
    number = {u: n for n, u in enumerate(u for u, side in nx.davis_southern_women_graph().nodes("bipartite") if side == 0)}
    assert list(graph) == list(number)
    assert [(number[u], number[v]) for u, v in graph.edges()] == sorted((number[u], number[v]) for u, v in graph.edges())
