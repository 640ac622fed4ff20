"""What a function of Python does, as one text: to know again what rests on a user's function that is in no file."""

import hashlib
from functools import partial
from types import CodeType, MethodType
from typing import Any

import numpy as np
from torch import Tensor

OURS = "xbar."  # modules whose functions are known by the project's version


def is_ours(function: Any) -> bool:
    """True for functions, and objects of classes, of this project."""
    return str(getattr(function, "__module__", "")).startswith(OURS)


def code_of_function(function: Any) -> str:
    """SHA-256 of what a function computes: its compiled code, defaults and enclosed values; of an object that is called its method
    __call__ and attributes, of functools.partial the function and what is given.

    Not seen: functions and variables of modules that it names, and, of values that are no numbers, texts, arrays, functions or
    collections of them, more than their type. Another version of Python compiles to another code.
    """
    return hashlib.sha256(repr(_told(function, ())).encode()).hexdigest()


def _told(value: Any, within: tuple[int, ...]) -> Any:
    """A value as nested tuples of texts and numbers, the same in every process; `within`: what encloses it, by id."""
    if id(value) in within:  # a function that encloses itself
        return "itself"
    inner = (*within, id(value))

    def each(values: Any) -> tuple[Any, ...]:
        return tuple(_told(one, inner) for one in values)

    if value is None or value is Ellipsis or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, CodeType):
        return (value.co_code.hex(), value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars, value.co_flags,
                each(value.co_consts))  # fmt: skip
    if isinstance(value, tuple | list):
        return type(value).__name__, each(value)
    if isinstance(value, set | frozenset):
        return type(value).__name__, tuple(sorted(map(repr, each(value))))
    if isinstance(value, dict):
        return "dict", each(value.items())
    if isinstance(value, Tensor | np.ndarray | np.generic):
        found = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        return str(found.dtype), found.shape, hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()
    if isinstance(value, partial):
        return "partial", each((value.func, value.args, value.keywords))
    if isinstance(value, MethodType):
        return "method", each((value.__func__, value.__self__))
    if isinstance(getattr(value, "__code__", None), CodeType):
        return "function", each((value.__code__, value.__defaults__, value.__kwdefaults__, _enclosed(value)))
    kind = type(value)
    called = getattr(kind, "__call__", None)  # noqa: B004 - the method itself, not whether there is one
    if isinstance(getattr(called, "__code__", None), CodeType):
        return kind.__qualname__, each((called, vars(value) if hasattr(value, "__dict__") else None))
    return "of", kind.__module__, kind.__qualname__, getattr(value, "__qualname__", "")


def _enclosed(function: Any) -> list[Any]:
    """The values of the variables around a function that it uses."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not yet given a value
            found.append("empty")
    return found
