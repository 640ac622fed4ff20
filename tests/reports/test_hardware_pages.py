"""Pages of mapping, classes and roofline at sizes that few networks have; names beside points; what is not modelled is said."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.reports.drawing import check_page, results_of, visible
from xbar.reports import classes, mapping, run_tables
from xbar.reports.labels import label_points, shortened
from xbar.reports.results import Results
from xbar.reports.style import plot

WORDLINES, PER_CORE, CORES = 128, 8, 12  # ISAAC's


def mapped(layers: int, each: int) -> Results:
    """Layers of so many crossbars, one after the other on the chip, half filled."""
    count = layers * each
    number = np.arange(count)
    table = pd.DataFrame({
        "layer": [f"stage{n // each}.block.conv" for n in number], "copy": 0, "tile": number // (PER_CORE * CORES),
        "core": number // PER_CORE, "slot": number % PER_CORE, "rows": WORDLINES // 2, "columns": WORDLINES,
        "cells": WORDLINES * WORDLINES // 2,
    })  # fmt: skip
    chip = {"wordlines": WORDLINES, "bitlines": WORDLINES, "crossbars_per_core": PER_CORE, "cores_per_tile": CORES}
    return results_of({"summary": {"cells_of_used_crossbars_share": 0.5}, "chip": chip}, mapping=table)


@pytest.mark.parametrize(
    ("layers", "each", "of"), [(1, 1, "crossbar"), (5, 200, "crossbar"), (20, 300, "core"), (21, 768, "tile"), (70, 10, "crossbar")]
)
def test_a_mapping_of_any_size_fits_its_page(layers: int, each: int, of: str) -> None:
    results = mapped(layers, each)
    squares, found, per = mapping._squares(results.mapping, results.meta["chip"])
    assert found == of
    assert per == {"crossbar": 1, "core": PER_CORE, "tile": PER_CORE * CORES}[of]
    # what is drawn holds the same cells, whatever a square is
    assert (squares["filled"] * per * WORDLINES**2).sum() == pytest.approx(results.mapping["cells"].sum())
    figure = mapping.crossbar_mapping(results)
    check_page(visible(figure))
    shown = " ".join(text.get_text() for text, _ in visible(figure))
    assert ("too many to draw" in shown) == (of != "crossbar")
    assert (f"of {layers} layers" in shown) == (layers > mapping.MOST_LAYERS)


def test_blocks_are_drawn_where_they_lie() -> None:
    """A crossbar of 10 x 20 with three groups of one layer on its diagonal and a block of another beside them."""
    table = pd.DataFrame({
        "layer": ["grouped", "other"], "copy": 0, "tile": 0, "core": 0, "slot": 0, "first_row": [0, 4], "first_column": [0, 12],
        "rows": [6, 5], "columns": [12, 8], "groups": [3, 1], "cells": [24, 40],
    })  # fmt: skip
    chip = {"wordlines": 10, "bitlines": 20, "crossbars_per_core": PER_CORE, "cores_per_tile": CORES}
    results = results_of({"summary": {"cells_of_used_crossbars_share": 0.32, "crossbars_for_weights": 1.0}, "chip": chip}, mapping=table)
    figure = mapping.crossbar_mapping(results)
    shown = " ".join(text.get_text() for text, _ in visible(figure))
    assert "1 crossbars in use" in shown
    assert "Layers that share a crossbar have a square each" in shown
    squares, fills = figure.axes[0].collections[:2]
    boxes = [path.get_extents() for path in squares.get_paths()]
    blocks = [path.get_extents() for path in fills.get_paths()]
    side = boxes[0].width
    of_first = [((b.x0 - boxes[0].x0) / side, (boxes[0].y1 - b.y1) / side, b.width / side, b.height / side) for b in blocks[:3]]
    assert of_first == [pytest.approx((4 * k / 20, (2 - k) * 2 / 10, 4 / 20, 2 / 10)) for k in range(3)]
    assert ((blocks[3].x0 - boxes[1].x0) / side, (boxes[1].y1 - blocks[3].y1) / side) == pytest.approx((12 / 20, 4 / 10))


@pytest.mark.parametrize(("count", "of"), [(100, "crossbar"), (1300, "core"), (15000, "tile")])
def test_squares_are_as_large_as_the_chip_s_parts(count: int, of: str) -> None:
    """Networks that use two of eight crossbars of a core, two of twelve cores of a tile, and a part of each crossbar, of 64 x 256."""
    number = np.arange(count)
    table = pd.DataFrame({
        "layer": "wide", "copy": 0, "tile": number // 4, "core": number // 4 * CORES + number // 2 % 2, "slot": number % 2, "rows": 16,
        "columns": 32, "cells": 512,
    })  # fmt: skip
    chip = {"wordlines": 64, "bitlines": 256, "crossbars_per_core": PER_CORE, "cores_per_tile": CORES}
    squares, found, per = mapping._squares(table, chip)
    assert found == of
    assert (squares["filled"] * per * 64 * 256).sum() == pytest.approx(512 * count)
    assert squares["up"].tolist() == [0.25 if of == "crossbar" else 1.0] * len(squares)
    assert squares["across"].tolist() == [0.125 if of == "crossbar" else 1.0] * len(squares)
    assert per == {"crossbar": 1, "core": PER_CORE, "tile": PER_CORE * CORES}[of]


def judged(count: int) -> Results:
    """So many classes of 10 images, class n wrong on chip in n % 7 of them, taken for the next one."""
    wrong = np.arange(count) % 7
    table = pd.DataFrame({
        "label": range(count), "images": 10, "float": 1.0, "chip": 1 - wrong / 10, "chip_smallest": 0.9 - wrong / 10,
        "chip_largest": 1.0, "instances": 3,
    })  # fmt: skip
    rows = [("float", n, n, 10.0) for n in range(count)] + [("chip", n, n, 10.0 - wrong[n]) for n in range(count)]
    rows += [("chip", n, (n + 1) % count, float(wrong[n])) for n in range(count) if wrong[n]]
    confusion = pd.DataFrame(rows, columns=["of", "label", "predicted", "count"])
    meta = {"workload": {"title": "A classifier"}, "chip": {"title": "A chip"}, "score": {"alike": False, "of": "images"}}
    return results_of(meta, class_accuracy=table, confusion=confusion)


@pytest.mark.parametrize("count", [2, 10, 100, 300])
def test_classes_of_any_number_fit_their_page(count: int) -> None:
    results = judged(count)
    figure = classes.confusion(results)
    check_page(visible(figure))
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith("On chip"))
    matrix = np.asarray(axes.images[0].get_array())
    assert matrix.shape == ((count, count) if count <= 100 else (20, 20))
    if count <= 100:
        assert matrix.sum(1) == pytest.approx(1)
        assert np.diag(matrix) == pytest.approx(results.class_accuracy["chip"].to_numpy())
    else:
        assert np.diag(matrix).max() <= 0.5  # the worst


def test_names_beside_points_are_clear_of_each_other() -> None:
    figure = Figure(figsize=(11.69, 8.27))
    axes = plot(figure, (0.1, 0.1, 0.5, 0.5), "Points")
    generator = np.random.default_rng(0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    places = [*map(tuple, generator.uniform(0.1, 0.9, (18, 2))), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5)]
    names = [f"layer{number}.conv" for number in range(len(places))]
    missing = label_points(axes, places, names)
    check_page(visible(figure))
    shown = [text.get_text() for text in axes.texts]
    assert "layer18.conv and 2 more" in shown
    assert len(shown) == 19 - missing
    assert missing <= 1


def test_what_does_not_leak_is_not_modelled_rather_than_nothing() -> None:
    provenance = pd.DataFrame({"key": ["component.dac.static_power", "component.adc.power"]})
    results = results_of({}, provenance=provenance)
    assert run_tables.static_power_of(results, "adc", 0.0) == "not modelled"
    assert run_tables.static_power_of(results, "dac", 0.0).startswith("0")  # the file says so
    assert run_tables.static_power_of(results, "buffer", 0.002).startswith("2.00")


def test_long_names_of_layers_stay_apart() -> None:
    names = [f"blocks.{block}.{part}" for block in range(4) for part in ("attention.joint", "attention.out", "wide")]
    short = shortened(names)
    assert len(set(short.values())) == len(names)
    assert max(map(len, short.values())) == 16
    assert short["blocks.3.wide"] == "blocks.3.wide"
    assert shortened(["layer3.block2.conv1", "layer3.block2.conv2"])["layer3.block2.conv1"] == "…r3.block2.conv1"  # the end tells more
    assert list(shortened(["a", "b", "a"])) == ["a", "b"]
