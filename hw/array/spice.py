"""A crossbar tile with one input vector as a netlist that `ngspice -b FILE` runs as it is.

The same network as `xbar.hw.array.parasitics`, written out element by element, so that a circuit simulator can judge it.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor

from xbar.hw.array.wires import Wires
from xbar.hw.cells.law import Linear, SpiceLaw
from xbar.hw.errors import ParameterError

OPTIONS = ".options reltol=1e-12 abstol=1e-18 vntol=1e-15"
LINEAR = Linear()


def netlist(
    conductance: Tensor,
    voltages: Tensor,
    wires: Wires,
    law: SpiceLaw = LINEAR,
    rows_per_node: int = 1,
    title: str = "memristor crossbar",
) -> str:
    """Netlist of one tile: its operating point, and the current of every bitline printed as `i(vb0) = ...` [A].

    conductance: (wordlines, bitlines) [S]; voltages: (wordlines,) [V]. Nodes: s<i> source of wordline i, w<i>_<j> and
    b<n>_<j> wordline and bitline at a cell (n: bitline node, `rows_per_node` wordlines each), e<j> end of bitline j,
    where vb<j>, a source of 0 V, is the ammeter. Segments of 0 ohm merge their nodes; cells of 0 S are left out;
    linear cells are resistors, others B sources. Raises ParameterError for wrong shapes and values.
    """
    _check(conductance, voltages, rows_per_node, title)
    cells = conductance.double().tolist()
    lines = [f"* {title}"]
    lines += [f"vs{i} s{i} 0 dc {value!r}" for i, value in enumerate(voltages.double().tolist())]
    lines += [f"vb{j} e{j} 0 dc 0" for j in range(len(cells[0]))]
    lines += _resistors("rw", _wordlines(len(cells), len(cells[0]), wires))
    lines += _resistors("rb", _bitlines(len(cells) // rows_per_node, len(cells[0]), wires))
    lines += _cells(cells, wires, law, rows_per_node)
    lines += [OPTIONS, ".control", "set numdgt=15", "op"]
    lines += [f"print i(vb{j})" for j in range(len(cells[0]))]
    return "\n".join([*lines, "quit", ".endc", ".end", ""])


def write_netlist(
    path: str | os.PathLike[str],
    conductance: Tensor,
    voltages: Tensor,
    wires: Wires,
    law: SpiceLaw = LINEAR,
    rows_per_node: int = 1,
    title: str = "memristor crossbar",
) -> None:
    """`netlist` into a file, which appears whole or not at all."""
    text = netlist(conductance, voltages, wires, law, rows_per_node, title)
    target = Path(path)
    with NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, prefix=target.name, delete=False) as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _check(conductance: Tensor, voltages: Tensor, rows_per_node: int, title: str) -> None:
    if conductance.dim() != 2 or 0 in conductance.shape:
        raise ParameterError(f"conductance must be (wordlines, bitlines) of one tile, got {tuple(conductance.shape)}")
    if not bool(torch.isfinite(conductance).all()) or bool((conductance < 0).any()):
        raise ParameterError("conductance must be finite and 0 S or more")
    wordlines = conductance.shape[0]
    if tuple(voltages.shape) != (wordlines,):
        raise ParameterError(f"voltages must be one vector of {wordlines} wordlines, got {tuple(voltages.shape)}")
    if not bool(torch.isfinite(voltages).all()):
        raise ParameterError("voltages must be finite")
    if rows_per_node < 1 or wordlines % rows_per_node:
        raise ParameterError(f"rows_per_node must be 1 or more and divide {wordlines} wordlines, got {rows_per_node}")
    if "\n" in title or "\r" in title:
        raise ParameterError(f"title must be one line, got {title!r}")


def _word(i: int, j: int, bitlines: int, wires: Wires) -> str:
    """Name of wordline i at bitline j, with merged nodes under one name."""
    if wires.wordline == 0:
        j = 0
    at_end = j == 0 or (wires.driven_from == "both" and j == bitlines - 1)
    return f"s{i}" if wires.driver == 0 and at_end else f"w{i}_{j}"


def _bit(node: int, j: int, nodes: int, wires: Wires) -> str:
    """Name of bitline j at a node, with merged nodes under one name."""
    if wires.bitline == 0:
        node = nodes - 1
    at_end = node == nodes - 1 or (wires.sensed_at == "both" and node == 0)
    return f"e{j}" if wires.sense == 0 and at_end else f"b{node}_{j}"


def _wordlines(wordlines: int, bitlines: int, wires: Wires) -> Iterator[tuple[str, str, float]]:
    """(node, node, ohm) of every resistor of the wordlines."""
    for i in range(wordlines):
        names = [_word(i, j, bitlines, wires) for j in range(bitlines)]
        yield f"s{i}", names[0], wires.driver
        yield from ((a, b, wires.wordline) for a, b in itertools.pairwise(names))
        if wires.driven_from == "both":
            yield f"s{i}", names[-1], wires.driver


def _bitlines(nodes: int, bitlines: int, wires: Wires) -> Iterator[tuple[str, str, float]]:
    """(node, node, ohm) of every resistor of the bitlines."""
    for j in range(bitlines):
        names = [_bit(node, j, nodes, wires) for node in range(nodes)]
        yield names[-1], f"e{j}", wires.sense
        yield from ((a, b, wires.bitline) for a, b in itertools.pairwise(names))
        if wires.sensed_at == "both":
            yield names[0], f"e{j}", wires.sense


def _resistors(prefix: str, resistors: Iterator[tuple[str, str, float]]) -> Iterator[str]:
    """A line each, those of 0 ohm left out (their ends have one name)."""
    kept = [(a, b, ohm) for a, b, ohm in resistors if ohm > 0]
    return (f"{prefix}{number} {a} {b} {ohm!r}" for number, (a, b, ohm) in enumerate(kept))


def _cells(cells: list[list[float]], wires: Wires, law: SpiceLaw, rows_per_node: int) -> Iterator[str]:
    """Every cell from its wordline to its bitline, with its access resistor in front."""
    wordlines, bitlines = len(cells), len(cells[0])
    for i, row in enumerate(cells):
        for j, conductance in enumerate(row):
            if conductance == 0:
                continue
            top = _word(i, j, bitlines, wires)
            bottom = _bit(i // rows_per_node, j, wordlines // rows_per_node, wires)
            if wires.access > 0:
                yield f"ra{i}_{j} {top} c{i}_{j} {float(wires.access)!r}"
                top = f"c{i}_{j}"
            if isinstance(law, Linear):
                yield f"rc{i}_{j} {top} {bottom} {1 / conductance!r}"
            else:
                yield f"bc{i}_{j} {top} {bottom} i={law.spice(f'v({top},{bottom})', conductance)}"
