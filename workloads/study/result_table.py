"""What a sweep leaves: a row a point as Parquet, and what was swept."""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xbar.workloads.study.identity import Value
from xbar.workloads.study.journal import Journal
from xbar.workloads.study.spaces import MOST_WHOLE

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS, SUMMARY = "results.parquet", "sweep.json"
BATCH_ROWS = 5000  # of the results file, in memory at once


def _row(place: int, point: dict[str, Value], key: str, journal: Journal, more: Mapping[str, Value]) -> dict[str, Value]:
    entry = journal.entry(key)
    return {"point": place, **point, **entry["found"], **more, "wall_s": float(entry["wall_s"]), "error": entry["error"], "key": key}


def write_results(
    folder: Path, points: list[dict[str, Value]], keys: list[str], journal: Journal, more: Sequence[Mapping[str, Value]] | None = None
) -> None:  # fmt: skip
    """All rows as Parquet, under a temporary name first; what told of the results before goes. more: further columns of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from xbar.reports.results import forget

    kinds: dict[str, set[type]] = {}
    added = [{}] * len(points) if more is None else more
    for point, key, own_columns in zip(points, keys, added, strict=True):
        for name, value in {**point, **journal.entry(key)["found"], **own_columns}.items():
            seen = kinds.setdefault(name, set())
            if value is not None:
                seen.add(float if isinstance(value, int) and abs(value) > MOST_WHOLE else type(value))
    own: dict[str, set[type]] = {"point": {int}, **kinds, "wall_s": {float}, "error": {str}, "key": {str}}
    schema = pa.schema([(name, _arrow(pa, seen)) for name, seen in own.items()])
    temporary = folder / f"{RESULTS}.part"
    with pq.ParquetWriter(temporary, schema) as writer:
        for start in range(0, len(points), BATCH_ROWS):
            part = range(start, min(start + BATCH_ROWS, len(points)))
            rows = [_row(place, points[place], keys[place], journal, added[place]) for place in part]
            columns = [_column(pa, schema.field(name).type, [row.get(name) for row in rows]) for name in own]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    forget(folder)
    os.replace(temporary, folder / RESULTS)


def _arrow(pa: Any, kinds: set[type]) -> "pa.DataType":
    """The narrowest type that holds a column: numbers together are floats, other mixtures texts."""
    if kinds <= {bool} and kinds:
        return pa.bool_()
    if kinds <= {int} and kinds:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def _column(pa: Any, kind: "pa.DataType", values: list[Value]) -> "pa.Array":
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    if kind == pa.string():
        texts = [value if isinstance(value, str | None) else json.dumps(value) for value in values]
        return pa.array([None if text is None else text.encode("utf-8", "replace").decode() for text in texts], kind)
    return pa.array(values, kind)


def write_summary(
    folder: Path, points: list[dict[str, Value]], failed: int, code: str, about: Mapping[str, Any], axes: Sequence[str] | None = None
) -> None:  # fmt: skip
    """What was swept: the columns that vary, what all points share, versions. axes: those that may vary, where others say how a point
    was judged."""
    from xbar.reports.results import save_checksums, write_text  # not above: workers would load pandas for it

    names = list(dict.fromkeys(name for point in points for name in point))
    may_vary = names if axes is None else axes
    values = {name: list(itertools.islice(dict.fromkeys(json.dumps(point.get(name)) for point in points), 2)) for name in names}
    summary = {
        "points": len(points), "failed": failed, "varied": [name for name in names if len(values[name]) > 1 and name in may_vary],
        "fixed": {name: points[0][name] for name in names if len(values[name]) == 1},
        "code": hashlib.sha256(code.encode()).hexdigest()[:32],
        "versions": {name: version(name) for name in ("xbar", "torch", "numpy")},
    }  # fmt: skip
    write_text(folder / SUMMARY, json.dumps({**about, **summary}, indent=2, allow_nan=False) + "\n")
    save_checksums(folder, (SUMMARY, RESULTS))
