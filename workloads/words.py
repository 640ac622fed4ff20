"""A parser of command lines that knows words by their whole spelling, and says what a wrong one may have been meant to be."""

import argparse
import re
import sys
from typing import Any, NoReturn

from xbar.hw.errors import did_you_mean


class WholeWords(argparse.ArgumentParser):
    """An argument parser that takes no abbreviated flags and suggests known words for unknown ones."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, allow_abbrev=False, **named)
        self.words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; the words are kept for `error`."""
        self.words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage and message with what unknown words may have been meant to be, and exit with code 2."""
        chosen = re.search(r"invalid choice: '?([^' ]*)'? \(choose from (.*)\)", message)
        if chosen:
            known = [word.strip("' ") for word in chosen[2].split(",")]
            super().error(message + did_you_mean(chosen[1], known))
        known = self._flags()
        unknown = [word.partition("=")[0] for word in self.words if re.match(r"--\w", word)]
        hints = [f"{word} is unknown{hint}" for word in unknown if word not in known and (hint := did_you_mean(word, known))]
        super().error("; ".join([message, *hints]))

    def _flags(self) -> list[str]:
        """Flags of this parser, or of that of the command that the words name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found = next((action.choices[word] for word in self.words if word in action.choices), None)
                return [] if found is None else found._flags()
        return [flag for action in self._actions for flag in action.option_strings]
