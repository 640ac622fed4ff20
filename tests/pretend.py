"""A second torch device that is none: its tensors are the processor's own, kept apart, so that code for an accelerator is tried
without one.

An operation on tensors of both devices is refused, as CUDA refuses it (but for copies and 0-dimensional tensors of the processor;
here also indices, which CUDA copies), and every wait for a value is counted: reading one, copying to the processor, and results whose
shape depends on values. What it cannot tell: rounding, generators and memory of a real accelerator.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim", "repeat_interleave.Tensor")
_Generator, _tensor = torch.Generator, torch.tensor
COPIES = ("copy_", "_to_copy")


class MixedDevicesError(AssertionError):
    """An operation was given tensors of both devices."""


class OnPretend(Tensor):
    """A tensor of the pretended device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnPretend":
        found: OnPretend = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0), requires_grad=False,
        )  # fmt: skip
        found.held = held
        return found

    def tolist(self) -> Any:
        """As of any tensor; torch refuses it of subclasses."""
        return self.cpu().tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        """As of any tensor."""
        return _tensor(data, dtype=kwargs.pop("dtype", self.dtype), **kwargs).to(self.device)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnPretend({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func}: only inside `pretend()`")


class _Pretend(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()  # by operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = pytree.tree_leaves((args, kwargs))
        there = [each for each in leaves if isinstance(each, OnPretend)]
        here = [each for each in leaves if isinstance(each, Tensor) and not isinstance(each, OnPretend)]
        name = func._schema.name.split("::")[1]
        named = kwargs.get("device")
        wanted = None if named is None else torch.device(named).type
        if there and name not in COPIES and any(each.dim() for each in here):
            raise MixedDevicesError(f"{func}: {[(each.device.type, *each.shape) for each in (*there, *here)]}")
        if there and here and name.endswith("_") and name not in COPIES and args and args[0] is here[0]:
            raise MixedDevicesError(f"{func}: into a tensor of the processor")
        known = {id(each.held): each for each in there}

        def plain(each: Any) -> Any:
            return each.held if isinstance(each, OnPretend) else each

        if wanted == NAME:
            kwargs["device"] = torch.device("cpu")
        found = func(*pytree.tree_map(plain, args), **pytree.tree_map(plain, kwargs))
        lands = wanted == NAME or (wanted is None and bool(there))
        if name == "copy_":
            lands = isinstance(args[0], OnPretend)
        if there and (any(name == each.split(".")[0] and (each == name or str(func).endswith(each)) for each in WAITS)
                      or (name in COPIES and not lands) or _by_mask(name, args)):  # fmt: skip
            self.waits[name] += 1

        def wrapped(each: Any) -> Any:
            if not isinstance(each, Tensor) or not lands:
                return each
            return known[id(each)] if id(each) in known else OnPretend(each)

        return pytree.tree_map(wrapped, found)


def _by_mask(name: str, args: Any) -> bool:
    """True where a mask chooses, so that the number of values is not known before; writing through one needs no count on CUDA."""
    return name == "index" and any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])


class _Drawn:
    """In place of torch.Generator: draws for the pretended device are the processor's."""

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:  # type: ignore[misc]
        return _Generator("cpu" if torch.device(device).type == NAME else device)


@contextmanager
def pretend() -> Iterator[Counter[str]]:
    """A block in which device `NAME` works, drawing what the processor draws; gives the waits, by operation."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME)

    def tensor(data: Any, **kwargs: Any) -> Tensor:  # torch makes these out of sight of modes
        device = kwargs.pop("device", None)
        made = _tensor(data, **kwargs)
        return made if device is None else made.to(device)

    with _Pretend() as mode, pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "tensor", tensor)
        patched.setattr(torch, "Generator", _Drawn)
        yield mode.waits
