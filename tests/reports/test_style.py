"""The house style: what is told apart by colour is told apart in print without colour."""

import itertools

import pytest
from matplotlib.colors import to_rgb

from xbar.reports.style import GROUPS, HATCHES, NAMES, STAGES, group_of, look


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
