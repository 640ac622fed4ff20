"""What a command answers before torch is loaded, which takes seconds: a wrong name of a chip, of cells or of a key; what keys there are."""

import argparse
import sys

from xbar.hw.chip.files import load_chip
from xbar.hw.chip.keys import table, template
from xbar.hw.errors import HardwareError


def answer(options: argparse.Namespace) -> int | None:
    """The exit code of what is answered here; None of a command that goes on."""
    try:
        if options.command == "chips" and options.keys is not None:
            print(table(options.keys))
            return 0
        if options.command == "chips" and options.template is not None:
            print(template(options.template), end="")
            return 0
        if options.command in ("run", "compress") or (options.command == "pin" and options.out is not None):
            load_chip(options.chip, dict(options.settings), options.device)
    except BrokenPipeError:
        return 141
    except (HardwareError, OSError) as error:
        print(f"xbar: error: {error}", file=sys.stderr)
        return 1
    return None
