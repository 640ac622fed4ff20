"""A figure as SVG to stand in an HTML page, and the type that such pages carry with them.

Text stays text, so that it can be searched and copied and a page of a table stays small; that it looks the same everywhere is
seen to by the letters in use, cut out of the font that matplotlib measured them with, inside the page. As outlines of letters a page
of text was three to twenty times the size.
"""

import base64
import io
import re
from functools import cache
from xml.etree import ElementTree

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont

FAMILY = "DejaVu Sans"
WEIGHTS = (400, 700)
# In every page, whether used or not, so that most pages have the same letters: cutting them out takes a third of a second.
USUAL = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100)))) + "–—…·×≤≥±∞√∑−→←▲▼Ωµμστηλαβγδεθφωπρ²³⁻¹⁰⁴⁵⁶⁷⁸⁹"
MOST_BYTES = 1_500_000  # of one figure as SVG; a larger one is shown as its PNG
RASTER_DPI = 200  # of the parts that are too many to draw as shapes
NO_TURN = re.compile(r"^rotate\(-?0 [^)]*\)$")
FAMILIES = re.compile(r"font-family: ?[^;]*;? ?")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
NUMBER = re.compile(r"\d+\.\d{3,}")
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "xbar", "svg.image_inline": True}


def svg(figure: Figure, name: str, label: str) -> Markup | None:
    """The figure as an `svg` element to stand in HTML, or None where it would be larger than `MOST_BYTES`.

    name: of the page, before every identifier, which so differ between figures of one document; label: what readers of screens
    tell. The same figure gives the same text.
    """
    written = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(written, format="svg", dpi=RASTER_DPI, metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    _tidy(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(text) if len(text.encode()) <= MOST_BYTES else None


def _tidy(root: ElementTree.Element, name: str) -> None:
    """As HTML has it: no namespaces, no identifiers but those referred to, each after the name; the page's own type; two decimals."""
    for parent in root.iter():
        for child in [each for each in parent if _plain(each.tag) in ("metadata", "style")]:
            parent.remove(child)
    used = set()
    for each in root.iter():
        each.tag = _plain(each.tag)
        each.attrib = {_plain(key): value for key, value in each.attrib.items()}
        used |= {each.get("href", "").removeprefix("#")} | {found for value in each.attrib.values() for found in REFERENCE.findall(value)}
    for each in root.iter():
        if each.tag not in ("text", "tspan"):
            each.text = None if not (each.text or "").strip() else each.text
        if each.tag != "tspan":
            each.tail = None
        for key, value in list(each.attrib.items()):
            if (key == "id" and value not in used) or (key == "transform" and NO_TURN.match(value)):
                del each.attrib[key]
            elif key == "id":
                each.set(key, f"{name}-{value}")
            elif key == "href":
                each.set(key, f"#{name}-{value[1:]}" if value.startswith("#") else value)
            elif key == "style":
                each.set(key, REFERENCE.sub(rf"url(#{name}-\1)", FAMILIES.sub("", value)))
            elif key == "clip-path":
                each.set(key, REFERENCE.sub(rf"url(#{name}-\1)", value))
            elif key != "aria-label":
                each.set(key, " ".join(NUMBER.sub(_two_decimals, value).split()))
    _unwrap(root)


def _plain(name: str) -> str:
    return name.rpartition("}")[2]


def _two_decimals(found: re.Match[str]) -> str:
    """A hundredth of a point is a tenth of a pixel on a screen of four thousand."""
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _unwrap(parent: ElementTree.Element) -> None:
    """Groups that say nothing are taken away, their parts kept."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        _unwrap(child)
        kept += list(child) if child.tag == "g" and not child.attrib else [child]
    parent[:] = kept


def face(text: str) -> Markup:
    """CSS that brings the letters of `text` in the type of the pages, both weights, inside the page."""
    letters = "".join(sorted({*USUAL, *text} - {"\n", "\r", "\t"}))
    rules = (
        f"@font-face {{ font-family: {FAMILY!r}; font-weight: {weight}; src: url(data:font/woff;base64,{_letters(letters, weight)}); }}"
        for weight in WEIGHTS
    )
    return Markup("\n".join(rules))


@cache
def _letters(letters: str, weight: int) -> str:
    """The font with these letters alone, as WOFF, in base64."""
    font = TTFont(findfont(FontProperties(family=FAMILY, weight=weight)), recalcTimestamp=False)
    options = subset.Options(layout_features=["kern", "mark"], hinting=False, notdef_outline=True, name_IDs=[0, 1, 2, 13])
    options.drop_tables += ["FFTM"]  # when it was made
    cut = subset.Subsetter(options)
    cut.populate(text=letters)
    cut.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return base64.b64encode(written.getvalue()).decode("ascii")
