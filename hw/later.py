"""Modules that load when something of them is first asked for: a chip file is read and checked without torch, which takes seconds."""

from importlib import import_module
from typing import Any


class Later:
    """The module of that name, loaded on first use; for code that runs, not for what a class or signature is made of."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found
