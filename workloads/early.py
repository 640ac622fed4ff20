"""What a command answers before torch is loaded, which takes seconds: a wrong name of a chip, of cells or of a key, a place where nothing
can be written; what keys there are."""

import argparse
import sys
import tempfile
from pathlib import Path

from xbar.hw.chip.files import load_chip
from xbar.hw.chip.keys import table, template
from xbar.hw.errors import HardwareError
from xbar.workloads.offered import file_of, is_own

OUT_IS_A_FILE = ("pin", "fit-device", "place")


def answer(options: argparse.Namespace) -> int | None:
    """The exit code of what is answered here; None of a command that goes on."""
    try:
        if getattr(options, "out", None) is not None:
            check_writable(options.out, options.command in OUT_IS_A_FILE)
        if options.command == "chips" and options.keys is not None:
            print(table(options.keys))
            return 0
        if options.command == "chips" and options.template is not None:
            print(template(options.template), end="")
            return 0
        own = getattr(options, "workload", None) or ""
        if is_own(own) and not Path(file_of(own)[0]).is_file():
            raise FileNotFoundError(f"{file_of(own)[0]}: no such file of a network")
        if options.command in ("run", "compress", "place") or (options.command == "pin" and options.out is not None):
            load_chip(options.chip, dict(options.settings), options.device)
        if options.command in ("sweep", "search") and not options.file.is_file():
            raise FileNotFoundError(f"{options.file}: no such file of a {options.command}; examples/{options.command}.toml explains its "
                                    "form")  # fmt: skip
    except BrokenPipeError:
        return 141
    except (HardwareError, OSError) as error:
        print(f"xbar: error: {error}", file=sys.stderr)
        return 1
    return None


def check_writable(out: Path, is_file: bool = False) -> None:
    """Raise OSError where `out`, a folder or a file, cannot be written; nothing is left behind."""
    place = out.parent if is_file else out
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"--out = {out}: {place} is a file; give {'a file in ' if is_file else ''}a folder")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(f"--out = {out}: nothing can be written in {place}: {error.strerror or error}") from None
