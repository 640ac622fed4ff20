"""Finished points as they are kept: a file of lines, which holds what was done however a sweep ends."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from xbar.workloads.study.identity import Point, SweepError, Value

HEADER = b'{"format": "xbar sweep journal 1"}\n'


@dataclass(frozen=True)
class Outcome:
    """One point computed: what `run` returned, wall time [s], the error's text, the code of who computed."""

    found: dict[str, Value]
    wall: float
    error: str | None
    code: str


class Journal:
    """Finished points, one line of JSON each, and where in the file each begins; one sweep at a time has it."""

    def __init__(self, path: Path):
        self.path = path
        self.begins: dict[str, int] = {}
        self.failed: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SweepError(f"{path.parent}: another sweep is at work there") from None
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            self._file: BinaryIO = undo.enter_context(path.open("a+b"))
            self._read()
            undo.pop_all()

    def _read(self) -> None:
        """Find what is kept; a last line that was cut short is removed."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file):
            try:
                if number == 0 and not HEADER.startswith(line):
                    raise ValueError(f"its first line is not {HEADER.decode().strip()}")
                if not line.endswith(b"\n"):
                    break
                if number:
                    self._enter(json.loads(line), end)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise SweepError(f"{self.path}, line {number + 1}: not a sweep's journal ({error}); remove it to begin anew") from None
            end += len(line)
        self._file.truncate(end)
        if not end:
            self._append(HEADER)

    def _enter(self, entry: dict[str, Any], begins: int) -> None:
        key, found, error = entry["key"], entry["found"], entry["error"]
        entry["wall_s"] + 0.0
        if not isinstance(key, str) or not isinstance(error, str | None) or not isinstance(found, dict):
            raise TypeError("key and error must be texts, found a dict")
        if not all(isinstance(value, str | int | float | bool | None) for value in found.values()):
            raise TypeError("found must hold texts and numbers")
        self.begins[key] = begins
        (self.failed.discard if error is None else self.failed.add)(key)

    def _append(self, line: bytes) -> int:
        begins = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        self._file.flush()
        return begins

    def write(self, key: str, point: Point, outcome: Outcome) -> None:
        """Keep a finished point: it is in the file when this returns."""
        entry = {"key": key, "wall_s": outcome.wall, "error": outcome.error, "found": outcome.found, "point": point}
        self._enter(entry, self._append(json.dumps(entry).encode() + b"\n"))

    def entry(self, key: str) -> dict[str, Any]:
        """What is kept of a finished point."""
        self._file.seek(self.begins[key])
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def close(self) -> None:
        """Let another sweep have it."""
        self._file.close()
        self._lock.release()
