"""Every measure by method on every network of a folder, with what each method makes worse, and whether four fifths can be had.

Open positions, candidates and fitness are made up as `xbar run fairea` makes them, with the stated truth in place of a trained
network's scores; two settings of each network's attribute. What the tables hold of the same code is not measured again, what they hold of
other code is dropped.

    python -P -m xbar.workloads.fairea.all_networks path/to/orgnets --out results/fairea
"""

import argparse
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_verdict import harm_text, harms, judged_methods
from xbar.workloads.fairea.answer import answer, groups, measures
from xbar.workloads.fairea.compare import write_table
from xbar.workloads.fairea.harmless import FOUR_FIFTHS
from xbar.workloads.fairea.limits import Limits, fittest_within
from xbar.workloads.fairea.networks import EMBEDDED
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.run import load_network
from xbar.workloads.fairea.scoring import World, draw_openings
from xbar.workloads.study.identity import code_version

SETTINGS = ((0.3, 2), (0.3, 1))  # share that opens, candidates for each opening
MOST_POSITIONS = 15
DIGEST = 16  # signs of the code's hash that tables keep
KEY = ["network", "attribute", "share", "pool"]  # of a setting
COLUMNS = ["fitness_normalised", "abs_assortativity", "selection_ratio", "isolated_share", "isolated_members", "community_minority_share",
           "degree_ratio", "core_ratio", "cross_group_share", "unfilled"]  # fmt: skip


def one(graph: nx.Graph, attribute: str, name: str, share: float, pool: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measures by method with what each makes worse; and what the verdict says, with four fifths alone."""
    world = World.of(graph, attribute)
    opening = draw_openings(graph, attribute, world, 1, share=share, most=MOST_POSITIONS, pool=pool)[0]
    problem = opening.problem(opening.truth[opening.qualified])
    found = answer(problem, opening.actual(problem))
    sheet = FaireaSheet({"four_fifths": FOUR_FIFTHS}, pd.DataFrame(), pd.DataFrame(), measures(found), groups(found, {attribute: problem}),
                        pd.DataFrame(), pd.DataFrame())  # fmt: skip
    table = sheet.methods[["method", *COLUMNS]].copy()
    judged = judged_methods(sheet)
    worse = {method: "; ".join(harm.measure.column for harm in harms(sheet, method)) for method in judged}
    table["worse"] = [worse.get(method, "") for method in table["method"]]
    setting = {"network": name, "attribute": attribute, "share": share, "pool": pool, "open": len(problem.open_positions)}
    four = fittest_within(problem, Limits(selection=FOUR_FIFTHS))
    best = found.found["largest fitness"].fitness
    told = {
        **setting, "four_fifths": "met" if four.matching else "proved infeasible" if four.exact else "none found",
        "four_fifths_costs_percent": 100 * (1 - four.matching.fitness / best) if four.matching else float("nan"),
        "answer": found.best, "answer_proved": found.chosen.found.exact,
        "dropped": "; ".join(f"{name} ({how})" for name, how in found.chosen.dropped),
        "verdict": harm_text(sheet).replace("\u00a0", " "), "code": code_version()[:DIGEST],
    }  # fmt: skip
    return table.assign(**setting)[[*setting, *table.columns]], told


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -P -m xbar.workloads.fairea.all_networks", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="folder of organisations, each with nodes.csv and edges.csv")
    parser.add_argument("--out", required=True, type=Path, help="folder for networks.csv and verdicts.csv")
    chosen = parser.parse_args()
    sources = [*sorted(EMBEDDED), *sorted(path for path in chosen.folder.iterdir() if (path / "nodes.csv").is_file())]
    files = chosen.out / "networks.csv", chosen.out / "verdicts.csv"
    networks, verdicts = known_of(*files)
    known = set(verdicts[KEY].itertuples(index=False, name=None))
    chosen.out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        try:
            network = load_network(source)
        except FaireaError as error:  # as of a network with no attribute of few classes
            print(f"{source}: left out: {error}", flush=True)
            continue
        for share, pool in SETTINGS:
            if (network[2], network[1], share, pool) in known:
                continue
            table, told = one(*network, share, pool)
            networks, verdicts = _with(networks, table), _with(verdicts, pd.DataFrame([told]))
            print(f"{told['network']}, {told['pool']} candidates for each opening: {told['verdict']}", flush=True)
            for file, rows in zip(files, (networks, verdicts), strict=True):
                write_table(rows, file)


def known_of(networks: Path, verdicts: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the two tables hold of settings that the present code measured; empty where a file is missing."""
    if not (networks.is_file() and verdicts.is_file()):
        return pd.DataFrame(columns=KEY), pd.DataFrame(columns=KEY)
    found = pd.read_csv(verdicts)
    found = found[found.get("code", pd.Series("", found.index)) == code_version()[:DIGEST]]
    return pd.read_csv(networks).merge(found[KEY], on=KEY), found


def _with(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table with these rows after it."""
    return rows if table.empty else pd.concat([table, rows], ignore_index=True)


if __name__ == "__main__":
    main()
