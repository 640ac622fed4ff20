"""What joint searches of chip and compression found beside searches of either alone, at equal accuracy: study.csv, a table of README.md.

    xbar search results/search/resnet20-joint.toml --out KEPT/resnet20-joint    # and the other eight, each into a folder of its file's name
    python -P results/search/study.py KEPT
    python -P results/search/study.py --table

For each network and each of three budgets of accuracy (half of what its searches were allowed to lose, as much, twice as much) each
search's design of least energy x area is taken among those that its own estimates let pass, and judged once more; where it does not hold
there with 95 % confidence (three tries: each with 1 - 0.05 / 3), the next one; where none of the three does, the one that is nearest is
told. The chip as it is, and ISAAC with its own cells, are judged
on the same chips and images: on others than any search saw, where the test images suffice (not the digits': 360), else on those of the
confirmation, which saw a few candidates. Judging is kept in KEPT/judged, and goes on where it was interrupted.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from xbar.workloads.study.identity import Point, SweepError
from xbar.workloads.study.points import sweep_chips
from xbar.workloads.study.requirements import Requirement
from xbar.workloads.study.search import Asked
from xbar.workloads.study.search_file import read_search
from xbar.workloads.study.sweep import InProcess

HERE = Path(__file__).parent
KINDS = {"joint": "chip and compression", "chip": "chip alone", "compression": "compression alone"}
SHARES = (0.5, 1.0, 2.0)  # of the points that a search may lose
TRIES = 3
TEST_IMAGES = {"resnet20": 10_000, "lenet5": 10_000, "vit": 360}
COLUMNS = ("network", "points_lost_at_most", "design", "holds", "tried", "accuracy_float", "accuracy", "lost", "lost_error", "energy_J",
           "area_m2", "latency_s", "energy_x_area", "designs")  # fmt: skip


def studies() -> list[str]:
    """Networks of which all three searches are written."""
    return sorted({path.stem.rpartition("-")[0] for path in HERE.glob("*-joint.toml")})


def judged(points: list[Point], kept: Path) -> pd.DataFrame:
    """Rows of points, in their order."""
    return sweep_chips(points, kept, InProcess(), progress=True).frame()


def confirming(asked: Asked, design: dict[str, Any]) -> Point:
    """A design on as many chips and images as the confirmation has: those after its own, where there are as many."""
    assert asked.confirmation is not None
    level = dict(asked.confirmation.level)
    images, after = level["study.images"], level["study.first_image"] + level["study.images"]
    if after + images <= TEST_IMAGES[asked.fixed["workload.name"]]:
        level |= {"study.first_image": after, "study.first_instance": level["study.first_instance"] + level["study.instances"]}
    return {**asked.fixed, **design, **level}


def passing(asked: Asked, frame: pd.DataFrame, allowed: Requirement) -> Iterator[dict[str, Any]]:
    """Designs that a search's own estimates let pass, of the least energy x area first."""
    frame = frame[frame["error"].isna()] if "error" in frame else frame
    product = (frame["energy_J"] * frame["area_m2"]).sort_values(kind="stable")
    for place in product.index:
        row = frame.loc[place].to_dict()
        if "accuracy_lost" in row and pd.notna(row["accuracy_lost"]) and allowed.broken(row) <= 0:
            yield {name: row[name] for name in asked.axes}


def rows_of(network: str, kept: Path) -> Iterator[dict[str, Any]]:
    """The rows of one network."""
    searches = {kind: read_search(HERE / f"{network}-{kind}.toml").asked for kind in KINDS}
    joint = searches["joint"]
    (limit,) = (each.limit for each in joint.requirements if each.column == "accuracy")
    frames = {kind: pd.read_parquet(kept / f"{network}-{kind}" / "results.parquet") for kind in KINDS}

    def told(budget: float, design: str, row: dict[str, Any], holds: bool, tried: int, designs: int) -> dict[str, Any]:
        return {
            "network": network, "points_lost_at_most": 100 * budget, "design": design, "holds": holds, "tried": tried,
            "accuracy_float": row["accuracy_float"], "accuracy": row["accuracy"], "lost": row["accuracy_lost"],
            "lost_error": row["accuracy_lost_error"], "energy_J": row["energy_J"], "area_m2": row["area_m2"],
            "latency_s": row["latency_s"], "energy_x_area": row["energy_J"] * row["area_m2"], "designs": designs,
        }  # fmt: skip

    own = joint.fixed["chip.name"]
    chips = {f"{own} as it is": {}, "isaac as it is": {"chip.name": "isaac"}} if own != "isaac" else {"isaac as it is": {}}
    as_it_is = judged([confirming(joint, changed) for changed in chips.values()], kept / "judged" / f"{network}-as-they-are")
    for share in SHARES:
        budget = limit * share
        allowed = Requirement("accuracy", "high", budget, of_float=True)
        for name, (_, row) in zip(chips, as_it_is.iterrows(), strict=True):
            yield told(budget, name, row.to_dict(), allowed.holds(row.to_dict()), 1, 1)
        for kind, title in KINDS.items():
            tried, row, holds, least = 0, {}, False, math.inf
            for design in passing(searches[kind], frames[kind], allowed):
                tried += 1
                folder = kept / "judged" / f"{network}-{kind}-{share:g}-{tried}"
                found = judged([confirming(searches[kind], design)], folder).iloc[0].to_dict()
                holds = allowed.holds(found, 1 - 0.05 / TRIES)
                if holds or allowed.left(found, 1 - 0.05 / TRIES) < least:
                    row, least = found, allowed.left(found, 1 - 0.05 / TRIES)
                if holds or tried == TRIES:
                    break
            if row:
                yield told(budget, title, row, holds, tried, len(frames[kind]))


def write(rows: list[dict[str, Any]]) -> None:
    """The rows as study.csv, whole or not at all."""
    part = HERE / "study.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows)
    part.replace(HERE / "study.csv")


def table() -> str:
    """study.csv as README.md has it: energy x area as parts of that of the first row, the chip that was searched, as it is."""
    frame = pd.read_csv(HERE / "study.csv")
    lines = ["| network | may lose | design | lost | energy | area | latency | energy x area | of the chip as it is |", "|---" * 9 + "|"]
    for (network, points), group in frame.groupby(["network", "points_lost_at_most"], sort=False):
        base = group["energy_x_area"].iloc[0]
        for row in group.itertuples():
            product = 1e12 * row.energy_x_area
            lost = f"{100 * row.lost:.1f} ± {100 * row.lost_error:.1f} points{'' if row.holds else ', not shown to hold'}"
            lines.append(
                f"| {network} | {points:g} points | {row.design} | {lost} | {1e6 * row.energy_J:.3g} µJ | {1e6 * row.area_m2:.3g} mm² | "
                f"{1e6 * row.latency_s:.3g} µs | {product:{',.0f' if product > 100 else '.3g'}} µJ mm² | {row.energy_x_area / base:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Judge what the searches chose, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kept", type=Path, nargs="?", help="folder of the searches' folders")
    parser.add_argument("--table", action="store_true", help="print the table of study.csv")
    given = parser.parse_args()
    if given.kept is not None:
        done = [name for name in studies() if all((given.kept / f"{name}-{kind}" / "results.parquet").is_file() for kind in KINDS)]
        if not done:
            raise SweepError(f"{given.kept}: has no network of which all three searches are done ({', '.join(studies())})")
        write([row for name in done for row in rows_of(name, given.kept)])
    if given.table or given.kept is None:
        print(table())


if __name__ == "__main__":
    main()
