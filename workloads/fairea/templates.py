"""The files that `xbar run fairea --data DIR` takes, as a small organisation that is made up: change them to yours."""

from pathlib import Path

import numpy as np

from xbar.workloads.fairea.networks import functional_chart
from xbar.workloads.fairea.problem import FaireaError

README = """Files of fair assignment, of an organisation that is made up. Put yours in their place and run

    xbar run fairea --data {folder} --attribute gender --out out/fairea

nodes.csv       id, and attributes of who holds the position, as text. All attributes empty: the position is open.
edges.csv       source, target: who works with whom. Once is enough; both ways, or twice, is the same tie. Columns type, id, label are
                passed over; with a column weight, --least-weight leaves weak ties out.
candidates.csv  id, and the attributes of nodes.csv that you name with --attribute (again for a second one: intersections are told too).
                Other columns are neither kept nor shown.
fitness.csv     position, candidate, fitness (larger is better): a pair that is not listed does not qualify. Or a matrix: the first column
                `position`, then a column a candidate; or the first column `candidate`, then a column a position; empty: does not qualify.
                --least-fitness leaves pairs below it out.
positions.csv   (not here) position: the open ones, where nodes.csv still has the attributes of who left.
outcomes.csv    (not here, in place of fitness.csv) outcome from 0 to 1, and numbers that candidates.csv, or positions.csv, has too:
                fitness is then learned from these.

Columns may be apart by comma, semicolon or tab; files are in UTF-8.
"""
PEOPLE, OPEN, CANDIDATES, SEED = 40, 6, 14, 7


def write_templates(folder: Path) -> list[Path]:
    """Write the files and a README.txt into a folder that has none of them; their paths. Raises `FaireaError`."""
    rng = np.random.default_rng(SEED)
    graph = functional_chart(PEOPLE, 0.4, 0.0, seed=SEED, functions=3, team=5, tolerance=0.05)
    opened = set(rng.choice(np.arange(4, PEOPLE), OPEN, replace=False).tolist())
    names = {"minority": "woman", "majority": "man"}
    nodes = ["id,gender,department"]
    nodes += [f"p{u},," if u in opened else f"p{u},{names[each['class']]},{each['department']}" for u, each in graph.nodes(data=True)]
    edges = ["source,target", *(f"p{u},p{v}" for u, v in graph.edges())]
    people = ["id,gender,department"]
    people += [f"c{j},{'woman' if j % 5 < 2 else 'man'},function {1 + j % 3}" for j in range(1, CANDIDATES + 1)]
    pairs = ["position,candidate,fitness"]
    for u in sorted(opened):
        able = np.sort(rng.choice(CANDIDATES, 7, replace=False)) + 1
        pairs += [f"p{u},c{j},{rng.uniform(0.3, 1.0):.2f}" for j in able]
    texts = {"nodes.csv": nodes, "edges.csv": edges, "candidates.csv": people, "fitness.csv": pairs}
    there = [name for name in (*texts, "README.txt") if (folder / name).exists()]
    if there:
        raise FaireaError("template", str(folder), f"has {', '.join(there)} already; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: "\n".join(lines) + "\n" for name, lines in texts.items()} | {"README.txt": README.format(folder=folder)}
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return [folder / name for name in files]
