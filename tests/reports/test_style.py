"""The house style: what is told apart by colour is told apart in print without colour."""

import itertools

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tests.reports.drawing import sketch
from xbar.reports.style import (
    GROUPS,
    HATCHES,
    NAMES,
    PAGE,
    STAGES,
    _fits,
    fitted,
    group_of,
    look,
    page,
    width_of,
    write,
)
from xbar.reports.times import YEAR, time_text


def lightness(colour: str) -> float:
    """L* of CIELAB (CIE 15:2004, eq. 8.3) of an sRGB colour (IEC 61966-2-1), 0 black to 100 white."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > (6 / 29) ** 3 else luminance * (29 / 3) ** 3


def test_lightness_of_known_colours() -> None:
    assert lightness("#000000") == 0
    assert lightness("#ffffff") == pytest.approx(100)
    assert lightness("#777777") == pytest.approx(50.03, abs=0.05)


def test_groups_of_components_differ_in_grey_by_lightness_or_hatch() -> None:
    for one, other in itertools.combinations(GROUPS, 2):
        if HATCHES.get(one) == HATCHES.get(other):
            apart = abs(lightness(GROUPS[one][0]) - lightness(GROUPS[other][0]))
            assert apart >= 4, f"{one} and {other} are alike in grey"
    stacked = [name for name in GROUPS if name != "Writes"]
    for one, other in itertools.pairwise(stacked):  # what touches
        apart = abs(lightness(GROUPS[one][0]) - lightness(GROUPS[other][0]))
        assert apart >= 12 or HATCHES.get(one) != HATCHES.get(other), f"{one} and {other} touch and are alike in grey"


def test_stages_differ_in_grey() -> None:
    for one, other in itertools.combinations(STAGES, 2):
        assert abs(lightness(STAGES[one]) - lightness(STAGES[other])) >= 12, f"{one} and {other} are alike in grey"


def test_every_component_has_a_name_and_a_look() -> None:
    from xbar.hw.chip.components import COMPONENTS
    from xbar.hw.events.ledger import WRITE

    assert {*COMPONENTS, WRITE} == set(NAMES)
    for name in NAMES:
        assert group_of(name) in GROUPS
        assert look(group_of(name))["facecolor"] == GROUPS[group_of(name)][0]


@pytest.mark.parametrize("size", [6.0, 8.0, 18.0])
@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_texts_are_as_wide_as_they_are_drawn(size: float, weight: str) -> None:
    figure = Figure(figsize=PAGE, dpi=200)
    text = write(figure, 0.05, 0.5, "Efficiency, on chip: 3.73 TOPS/W · 95 %…", size=size, weight=weight)
    drawn = text.get_window_extent(sketch(figure)).width / 200
    assert width_of(text.get_text(), size, weight) == pytest.approx(drawn, rel=0.03)


def test_a_long_text_gets_smaller_type_then_an_ellipsis() -> None:
    text = "float 1.80 bit, mean of 3 chips, 95 % interval 1.82 to 1.85 bit, worst 1.84 bit"
    assert fitted(text, 9.0, 10, 7) == ([text], 10)
    lines, size = fitted(text, 2.2, 8, 7, lines=3)
    assert " ".join(lines) == text
    assert all(width_of(line, size) <= 2.2 for line in lines)
    assert 7 <= fitted(text, 4.3, 10, 7)[1] < 10
    (cut,), size = fitted(text, 2.2, 8, 7)
    assert size == 7
    assert cut.endswith("…")
    assert text.startswith(cut[:-1])
    assert width_of(cut, size) <= 2.2
    words, _ = fitted("a" * 200, 2.2, 8, 8, lines=9)
    assert "".join(words) == "a" * 200
    assert all(width_of(line, 8) <= 2.2 for line in words)


def test_long_titles_of_pages_are_whole() -> None:
    title = "What each axis does to accuracy, energy per request on chip and latency of one request"
    shown = [text.get_text() for text in page(title, "x" * 150).texts]
    assert shown == [title, "x" * 150]


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_whether_a_line_fits_is_told_as_by_laying_it_out(weight: str) -> None:
    for text in ("Energy per request, on chip (95 % of 3 chips)", "AVAILABLE TO LTV, WAVE AWAY", "0.500 (1.00) to (1.50) 2.00 nJ …"):
        wide = width_of(text, 8, weight)
        for share in (0.5, 0.9, 0.97, 0.999, 1.001, 1.03, 1.1, 2.0):
            assert _fits(text, share * wide, 8, weight) == (share > 1), (text, share)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1.0, "1 s"), (12.0, "12 s"), (0.001, "0.001 s"), (90.0, "1.5 min"), (86400.0, "1 day"), (5 * 86400.0, "5 days"),
        (10 * YEAR, "10 years"), (1234 * YEAR, "1234 years"),
    ],
)  # fmt: skip
def test_times_are_told_in_their_largest_unit(seconds: float, said: str) -> None:
    assert time_text(seconds) == said
