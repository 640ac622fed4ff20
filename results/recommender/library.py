"""The matrix factorisation of a well-kept library on the same split of MovieLens-100K, as a check of our own: library.csv.

    pip install --no-deps cornac powerlaw tqdm
    python -P results/recommender/library.py DATA [SECONDS] [SEEDS]

Cornac's MF (biases, ratings, stochastic gradient descent; without features) is given what `search.py` gives each method: SECONDS (default
30) of the processor for settings drawn at random after a first trial, judged by the mean of AUC and GAUC on validation interactions. The
best is trained on all that comes before the test interactions with SEEDS (default 5) seeds, and ranks these.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

import cornac
import numpy as np
import pandas as pd
from cornac.models import MF

from xbar.workloads.recommender.interactions import Interactions, load_movielens
from xbar.workloads.recommender.quality import Ranking, Split

HERE = Path(__file__).parent
START: dict[str, Any] = {"k": 10, "max_iter": 50, "learning_rate": 0.01, "lambda_reg": 0.1}
SPACE: dict[str, list[Any]] = {
    "k": [5, 10, 20, 40], "max_iter": [25, 50, 100, 200], "learning_rate": [0.003, 0.01, 0.03], "lambda_reg": [0.02, 0.05, 0.1, 0.2],
}  # fmt: skip


def ranked(data: Interactions, known: np.ndarray, rows: np.ndarray, settings: dict[str, Any], seed: int) -> pd.Series:
    """Metrics of the interactions in `rows` by a factorisation of the ratings in rows where `known` is True."""
    assert data.rating is not None
    triples = list(zip(data.user[known].tolist(), data.item[known].tolist(), data.rating[known].tolist(), strict=True))
    train = cornac.data.Dataset.from_uir(triples, seed=seed)
    model = MF(**settings, num_threads=1, seed=seed).fit(train)
    users = np.array([train.uid_map.get(user, -1) for user in range(data.users)])
    items = np.array([train.iid_map.get(item, -1) for item in range(data.items)])
    user, item = users[data.user[rows]], items[data.item[rows]]
    score = np.full(len(rows), float(train.global_mean))
    score += np.where(user >= 0, model.u_biases[user], 0) + np.where(item >= 0, model.i_biases[item], 0)
    score += np.where((user >= 0) & (item >= 0), (model.u_factors[user] * model.i_factors[item]).sum(1), 0)
    return Ranking(data.user[rows], data.liked[rows], score).metrics().iloc[0]


def main(folder: Path, budget: float, seeds: int) -> None:
    """Choose on validation, judge on test, save, print."""
    data = load_movielens(folder)
    split = Split.of(data, data.split_by_history())
    row = np.arange(len(data))
    known, held = row < split.train_ends[data.user], row < split.test_begins[data.user]
    draw, used, best = random.Random("cornac"), 0.0, (0.0, START)
    trial = 0
    while used < budget:
        settings = START if trial == 0 else {name: draw.choice(values) for name, values in SPACE.items()}
        began = time.process_time()
        found = ranked(data, known, row[held & ~known], settings, 0)
        used += time.process_time() - began
        best = max(best, (float(found["auc"] + found["gauc"]) / 2, settings), key=lambda each: each[0])
        trial += 1
    print(f"{trial} trials, best on validation {best[0]:.4f}: {best[1]}")
    table = pd.DataFrame([ranked(data, held, row[~held], best[1], seed) for seed in range(seeds)])
    told = table.agg(["mean", "std"]).drop(columns=["log_loss", "calibration"])  # scores are ratings, no logits
    told.insert(0, "library", f"cornac {cornac.__version__} MF {best[1]}")
    told.to_csv(HERE / "library.csv", float_format="%.6g", lineterminator="\n", index_label="of seeds")
    print(told.round(4).to_string())


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    main(Path(given[1]), float(given.get(2, 30)), int(given.get(3, 5)))
