"""Networks frozen at a date, embeddings refreshed after every k interactions: quality over time and what it costs on a chip.

    python -P results/recommender/refresh.py DATA [SEEDS] [CHECKPOINTS]

DATA: a folder of MovieLens, or a description of a table (.toml). Writes refresh.csv (every policy, metric and part, with bands over users
and seeds), refresh_costs.csv (embeddings written by each policy; energy and time of writing those of LiMAML on isaac-vector's crossbars)
and refresh.png. With CHECKPOINTS, a folder, trained networks are kept there and a later call goes on.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xbar.hw.chip.files import load_chip
from xbar.reports.refreshes import draw_refreshes
from xbar.workloads.recommender.interactions import Interactions
from xbar.workloads.recommender.learning import Learner, Tables
from xbar.workloads.recommender.methods import META, adapted_embeddings
from xbar.workloads.recommender.on_chip import judged_chip, refresh_costs
from xbar.workloads.recommender.over_time import refresh_study
from xbar.workloads.recommender.run import load_interactions

HERE = Path(__file__).parent


def main(path: Path, seeds: int, kept: Path | None) -> None:
    """Run the study, charge its writes, save and draw."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    data = load_interactions(path)
    found = refresh_study(data, seeds, kept=kept, step=print)
    costs = _costs(data)
    one, table = costs.loc["one member's"], found.refreshes
    written = table["embeddings_written"].where(table["policy"].str.startswith("meta"))  # the others' have no embeddings on a chip
    table["write_J"], table["write_s"] = written * one["energy_J"], written * one["time_s"]
    table.to_csv(HERE / "refresh_costs.csv", index=False, float_format="%.6g", lineterminator="\n")
    found.quality.to_csv(HERE / "refresh.csv", index=False, float_format="%.6g", lineterminator="\n")
    draw_refreshes(found.quality, table, data.name, HERE / "refresh.png")


def _costs(data: Interactions) -> pd.DataFrame:
    """What one embedding and the global block take to write; rests on sizes and signs, not on what was learned."""
    tables = Tables(data)
    learner = Learner.build(tables, META, 0).eval()
    rows = np.arange(0, len(data), max(1, len(data) // 200))
    embeddings, task_of = adapted_embeddings(learner, tables, rows, rows)
    with torch.no_grad():
        inputs = torch.cat([embeddings[task_of], learner.rest(tables.batch(rows, rows + 1))[:, 0]], 1)
    everyone = torch.zeros(data.users, learner.recipe.size)
    return refresh_costs(learner, learner.model.globals, everyone, judged_chip(load_chip("isaac-vector")), inputs, requests=30).table


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
