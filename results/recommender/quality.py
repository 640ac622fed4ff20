"""How well each method ranks on MovieLens-100K, means of seeds with bands over members and seeds: quality.csv.

    python -P results/recommender/quality.py DATA [SEEDS] [CHECKPOINTS] [METHODS]

DATA: a folder of MovieLens, or a description of a table (.toml); SEEDS: 5 unless given; CHECKPOINTS: a folder where trained networks are
kept, so that a later call goes on; METHODS: names with commas between them, all unless given. Each member's last 20 % of interactions are
ranked; all methods learn from the rest by their recipes (`search.py`). Groups: all members, those with at most 25 interactions before
("cold"), the others ("warm").
"""

import sys
from pathlib import Path

from xbar.workloads.recommender.methods import META, METHODS
from xbar.workloads.recommender.quality import study_quality
from xbar.workloads.recommender.run import load_interactions

HERE = Path(__file__).parent


def main(path: Path, seeds: int, kept: Path | None, methods: tuple[str, ...]) -> None:
    """Train, rank, save, print."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    data = load_interactions(path)
    found = study_quality(data, data.split_by_history(), seeds, META, kept, print, methods)
    table = found.tables()
    table["training_s"] = table["method"].map(found.seconds)
    table.to_csv(HERE / "quality.csv", index=False, float_format="%.6g", lineterminator="\n")
    whole = table[table["users_are"] == "all"]
    print(whole.pivot_table(index="method", columns="metric", values="mean", sort=False).round(4).to_string())
    leads = whole[whole["metric"] == "gauc"][["method", "lead", "lead_low", "lead_high", "joint_low", "joint_high", "training_s"]]
    print(leads.round(4).to_string(index=False))


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    wanted = tuple(given[4].split(",")) if 4 in given else tuple(METHODS)
    main(Path(given[1]), int(given.get(2, 5)), Path(given[3]) if 3 in given else None, wanted)
