"""Settings of each recommender chosen on validation interactions of MovieLens-100K, the same processor time for each.

    python -P results/recommender/search.py DATA [SECONDS]     # search.csv, which is gone on with where it is there

Each method has a space of settings and draws from it at random, after a first trial that is written here, until SECONDS (default 30) of
processor time are used up; the trial that crosses them counts. A trial learns from each member's first 70 % of interactions (seed 0) and
ranks the next 10 %; the last 20 %, for test, are not read. The best by the mean of AUC and GAUC is what
`xbar.workloads.recommender.methods.RECIPES` holds, but for LiMAML's hidden layers: the best here has none, and RECIPES has those of 32
and 16 numbers, tried once by hand on the same interactions (a mean 0.0002 lower), so that features and time reach the score. One network
is searched; each recipe then has three of it, whose mean score counts, as tried by hand on LiMAML alone.
"""

import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xbar.workloads.recommender.interactions import load_movielens
from xbar.workloads.recommender.methods import RECIPES, fit
from xbar.workloads.recommender.quality import Ranking, Split, one_thread

HERE = Path(__file__).parent
SECONDS = 30.0
_ALL: dict[str, list[Any]] = {"learning_rate": [2e-3, 3e-3, 6e-3, 9e-3], "graded": [True, True, False]}
_ORDINARY = {"epochs": [4, 6, 8, 12], "l2": [0.003, 0.01, 0.03], "l2_members": [0.001, 0.003, 0.01, 0.03], "weight_decay": [0.1, 1.0]}
SPACES: dict[str, dict[str, list[Any]]] = {
    "meta": _ALL | {
        "epochs": [4, 6], "support": [32, 256, 1000], "l2": [0.01, 0.03, 0.06], "l2_members": [0.001, 0.003, 0.01],
        "steps": [1, 2], "size": [10, 18, 34], "hidden": [(), (32, 16)], "id_dropout": [0.1, 0.3], "members": [True, True, False],
        "history": [True, True, False], "adapt": ["newton", "newton", "newton", "newton", "embedding", "meta"],
    },
    "global": _ALL | _ORDINARY | {"hidden": [(32, 16), (64, 32), (128, 64)]},
    "wide_deep": _ALL | _ORDINARY | {"hidden": [(32, 16), (64, 32), (128, 64)], "size": [8, 16, 32]},
    "mf": _ALL | _ORDINARY | {"epochs": [8, 12, 16, 24], "size": [6, 10, 18, 34]},
    "din": _ALL | _ORDINARY | {"epochs": [2, 3, 5], "hidden": [(32, 16), (64, 32)], "size": [8, 16], "support": [20, 50]},
    "melu": _ALL | {
        "epochs": [2, 3, 5], "support": [32, 64], "steps": [1, 2], "inner_rate": [0.1, 0.3, 1.0], "l2": [0.003, 0.01, 0.03],
        "weight_decay": [0.1, 1.0], "hidden": [(32, 16), (64, 32)],
    },
    "metaemb": {"learning_rate": [3e-3, 9e-3], "epochs": [2, 4], "support": [32, 128], "steps": [1, 3, 5], "inner_rate": [0.3, 1.0, 3.0]},
    "mwuf": {"learning_rate": [1e-3, 3e-3, 9e-3], "epochs": [2, 4, 8], "weight_decay": [0.1, 1.0], "support": [20, 50]},
}  # fmt: skip


_FIRST = {"learning_rate": 3e-3, "graded": True, "l2": 0.03, "l2_members": 0.003, "weight_decay": 0.1, "epochs": 6}
STARTS: dict[str, dict[str, Any]] = {  # tried first
    "meta": {"learning_rate": 3e-3, "graded": True, "epochs": 6, "support": 256, "l2": 0.03, "l2_members": 0.003, "steps": 1, "size": 18,
             "hidden": (32, 16), "id_dropout": 0.1, "members": True, "history": True, "adapt": "newton"},
    "global": _FIRST | {"hidden": (64, 32)},
    "wide_deep": _FIRST | {"hidden": (64, 32), "size": 18},
    "mf": _FIRST | {"learning_rate": 9e-3, "l2": 0.01, "l2_members": 0.01, "epochs": 15, "size": 10},
    "din": _FIRST | {"hidden": (64, 32), "size": 16, "support": 30, "epochs": 3},
    "melu": {"learning_rate": 3e-3, "graded": True, "epochs": 4, "support": 64, "steps": 2, "inner_rate": 0.3, "l2": 0.03,
             "weight_decay": 0.1, "hidden": (32, 16)},
    "metaemb": {"learning_rate": 3e-3, "epochs": 4, "support": 64, "steps": 3, "inner_rate": 1.0},
    "mwuf": {"learning_rate": 3e-3, "epochs": 4, "weight_decay": 0.1, "support": 50},
}  # fmt: skip


def _recipe(name: str, drawn: dict[str, Any]) -> Any:
    """The recipe of that method with those settings."""
    settings = {"networks": 1} | {key: tuple(value) if key == "hidden" else value for key, value in drawn.items()}
    if name == "meta":
        newton = settings.get("adapt", "newton") == "newton"
        settings |= {"newton": newton, "adapt": "embedding" if newton else settings["adapt"]}
        if not newton:
            settings |= {"steps": 3, "support": min(settings["support"], 64), "epochs": 4}  # as dear as those of Newton
    return replace(RECIPES[name], **settings)


def main(folder: Path, budget: float) -> None:
    """Search what is not searched yet, and print the best of each."""
    data = load_movielens(folder)
    split = Split.of(data, data.split_by_history())
    rows = np.arange(len(data))
    rows = rows[(rows >= split.train_ends[data.user]) & (rows < split.test_begins[data.user])]
    ends = split.train_ends[data.user[rows]]
    path = HERE / "search.csv"
    found = pd.read_csv(path).to_dict("records") if path.is_file() else []
    for name in ("mf", "wide_deep", "meta", "din", "global", "melu", "metaemb", "mwuf"):  # the last two stand on the first
        draw = random.Random(name)
        done = [row for row in found if row["method"] == name]
        used, trial = sum(row["processor_s"] for row in done), 0
        while used < budget:
            drawn = STARTS[name] if trial == 0 else {key: draw.choice(values) for key, values in SPACES[name].items()}
            if trial >= len(done):
                began = time.process_time()
                with one_thread():
                    method = fit(name, split.tables, split.train_ends, 0, _recipe(name, drawn))
                    ranking = Ranking(data.user[rows], data.liked[rows], method.score(rows, ends))
                took = time.process_time() - began
                metrics = ranking.metrics().iloc[0]
                auc, gauc = float(metrics["auc"]), float(metrics["gauc"])
                row = {"method": name, "trial": trial, "settings": json.dumps(drawn), "auc": auc, "gauc": gauc}
                found.append(row | {"mean": (auc + gauc) / 2, "processor_s": took})
                pd.DataFrame(found).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
                used += took
            trial += 1
    table = pd.DataFrame(found)
    best = table.loc[table.groupby("method")["mean"].idxmax()]
    print(best.to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
