"""A document: contents that tell the pages, every constant on paper, one page of HTML that needs nothing else."""

import base64
import io
import json
import re
import shutil
import subprocess
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.text import Text

from xbar.hw import load_chip
from xbar.reports import vector
from xbar.reports.pages import Document, save_document, title_of
from xbar.reports.record import Record, constants_pages, reproducibility_page
from xbar.reports.results import ResultsError
from xbar.reports.style import page, plot
from xbar.reports.vector import svg
from xbar.workloads.study.record import record

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
HOSTILE = "<script>alert('x')</script> & \"quotes\" $1$ {{ 1 }}"


def a_record(**changes: object) -> Record:
    """A record of a run on ISAAC."""
    settings = Namespace(command=print, chip="isaac", data=None, settings=[("a.b", "1")], out=Path("out"), seed=3, words=["run", "digits"])
    made = record(settings, {"ISAAC": load_chip("isaac")}, datetime(2026, 1, 1, tzinfo=UTC))
    return made.model_copy(update=changes)


def a_page(title: str, *headings: str) -> Figure:
    figure = page(title, f"below {title}")
    for number, heading in enumerate(headings):
        plot(figure, (0.1 + 0.4 * number, 0.2, 0.3, 0.5), heading).plot([0, 1], [0, 1])
    return figure


def a_document(made: Record | None, verdict: str = "It works.") -> Document:
    pages = {"first": a_page("Summary"), "second": a_page("Energy", "By component", "By layer"), "third": a_page("Notes")}
    table = pd.DataFrame({"layer": ["conv", HOSTILE], "energy_J": [1e-9, 2.5e-7]})
    return Document("A title", verdict, pages, "a footer", [("Latency", "1 ms", HOSTILE)], {"layers": table}, made)


@pytest.fixture(scope="module")
def whole() -> Document:
    """A document of which everything is known; not to be changed but by `saved`, which numbers its pages."""
    return a_document(a_record())


@pytest.fixture(scope="module")
def saved(whole: Document, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where it was saved, by file; not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    paths = save_document(whole, folder / "report.pdf")
    assert not list(folder.glob("*.part"))
    return {path.name: path for path in paths}


@pytest.fixture
def html_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files stand for the PDF and the PNGs, which take most of the time; the HTML page is whole."""
    from xbar.reports import pages

    def touched(path: Path) -> Path:
        path.write_bytes(b"")
        return path

    monkeypatch.setattr(pages, "save_pdf", lambda figures, path, title: touched(path))
    monkeypatch.setattr(pages, "save_png", lambda figure, path: touched(path))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]  # type: ignore[attr-defined]


class Reader(HTMLParser):
    """Collects what a page refers to, its identifiers, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.identifiers: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            if name == "id":
                self.identifiers.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


def test_the_html_page_needs_no_network_and_its_links_lead_somewhere(saved: dict[str, Path]) -> None:
    text, found = saved["report.html"].read_text("utf-8"), read(saved["report.html"])
    assert found.addresses
    for address in found.addresses:
        assert address.startswith(("data:", "#")), address
        assert not address.startswith("#") or address[1:] in found.identifiers
    assert len(found.identifiers) == len(set(found.identifiers))
    assert not re.search(r"https?://|url\((?!#|data:)|@import|fetch\(|XMLHttp", text)
    assert found.tags.count("svg") == 3


def test_identifiers_of_pictures_are_those_referred_to_and_differ_between_figures() -> None:
    """Two figures that are alike have the same clip paths, marks and hatches under names of their own."""
    alike = [a_page("One", "Energy") for _ in range(2)]
    for figure in alike:
        figure.axes[0].bar([0, 1], [1, 2], hatch="//")
        figure.axes[0].plot([0, 1], [2, 1], marker="D")
    found = []
    for name, figure in zip(("one", "other"), alike, strict=True):
        reader = Reader()
        reader.feed(str(svg(figure, name, "A label")))
        identifiers, text = set(reader.identifiers), str(svg(figure, name, "A label"))
        assert len(identifiers) == len(reader.identifiers)
        referred = set(re.findall(r"url\(#([^)]+)\)", text)) | {address[1:] for address in reader.addresses}
        assert referred == identifiers
        assert {"clipPath", "pattern"} <= set(re.findall(r"<(\w+) id=", text))
        found.append(identifiers)
    assert not found[0] & found[1]
    assert len(found[0]) == len(found[1])


def test_text_of_a_figure_stays_text_and_cannot_become_markup() -> None:
    figure = a_page("Pears", "Energy <b>&")
    reader = Reader()
    reader.feed(str(svg(figure, "pears", HOSTILE)))
    assert {"Pears", "below Pears", "Energy <b>&"} <= {"".join(reader.text[:1]), *reader.text}
    assert not {"b", "script"} & set(reader.tags)


def test_a_figure_that_would_be_too_large_is_shown_as_its_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector, "MOST_BYTES", 100)
    save_document(a_document(None), tmp_path / "report.pdf")
    found = read(tmp_path / "report.html")
    assert "svg" not in found.tags
    pictures = [address for address in found.addresses if address.startswith("data:image/png;base64,")]
    assert [base64.b64decode(each.partition(",")[2]) for each in pictures] == [
        (tmp_path / f"{name}.png").read_bytes() for name in ("first", "second", "third")
    ]


def test_the_type_of_the_pages_comes_with_them() -> None:
    """Both weights have every letter that is asked for and the font has, and no other letters than the usual ones."""
    css = vector.face("Ж☃")
    fonts = re.findall(r"font-weight: (\d+); src: url\(data:font/woff;base64,([^)]+)\)", css)
    assert [weight for weight, _ in fonts] == ["400", "700"]
    for _, data in fonts:
        letters = set(map(chr, TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap()))
        assert {*"Aµ²Ж☃"} <= letters <= {*vector.USUAL, *"Ж☃"}


@pytest.mark.usefixtures("html_alone")
def test_what_is_told_cannot_become_markup(tmp_path: Path) -> None:
    save_document(a_document(a_record(command=HOSTILE, configuration=HOSTILE), HOSTILE), tmp_path / "report.pdf")
    found = read(tmp_path / "report.html")
    assert found.tags.count("script") == 1
    assert "".join(found.text).count(HOSTILE) == 5  # verdict, tile, table, command, configuration


def test_every_constant_and_source_is_on_paper_and_on_the_html_page(saved: dict[str, Path]) -> None:
    constants, sources = a_record().tables()
    assert {*load_chip("isaac").provenance} <= {*constants["key"]}
    assert {"bands.published.low", "bands.assumed.high"} <= {*constants["key"]}  # which the bands rest on
    pages = constants_pages(constants, sources, "x")
    drawn = [text for figure in pages for text in texts(figure)]
    first = [text.get_text() for figure in pages for text in figure.texts if text.get_position()[0] == 0.05]  # the column of keys
    html = "".join(read(saved["report.html"]).text)
    for key in constants["key"]:
        assert first.count(key) == 1
        assert key in html
    together = " ".join(drawn)
    for _, row in constants.iterrows():
        for why in str(row["why"]).split() if isinstance(row["why"], str) else ():
            assert why in together
    for name, source in sources.iterrows():
        for part in (str(name), source["cite"], source["read"]):
            assert part in html
        assert all(word in together for word in source["cite"].split())


def test_a_row_of_the_constants_is_never_split_over_pages() -> None:
    """Reasons of one to nine lines: no page begins with the rest of a row, and the heading of the sources ends none."""
    constants, sources = a_record().tables()
    reasons = [" ".join(["because"] * (11 * (k % 9 + 1))) for k in range(len(constants))]
    pages = constants_pages(constants.assign(why=reasons), sources, "x")
    tops = []
    for figure in pages:
        cells = [text for text in figure.texts if text.get_fontsize() == 7]
        first, last = (at(text.get_position()[1] for text in cells) for at in (max, min))
        tops.append([text.get_text() for text in cells if text.get_position() == (0.05, first)])
        assert last > 0.06
        assert not [text for text in cells if text.get_position() == (0.05, last) and text.get_text() == "Sources"]
    assert len(pages) > 5
    assert all(len(top) == 1 for top in tops)


def test_contents_name_each_page_with_its_number(whole: Document, saved: dict[str, Path]) -> None:
    names = [path.stem for path in saved.values() if path.suffix == ".png"]
    numbered = [f"constants_{number}" for number in range(1, 5)]
    assert names == ["first", "contents", "second", "third", *numbered, "reproducibility"]
    from xbar.reports import pages

    drawn = [text.get_text() for text in pages._whole(whole)["contents"].texts]
    for title, number in (("Summary", 1), ("Energy", 3), ("Notes", 4), ("Every constant, with its source", 5), ("Reproducibility", 9)):
        assert drawn[drawn.index(title) + 2] == str(number)
    assert {"By component; By layer", "below Notes"} <= set(drawn)


def test_the_same_document_gives_the_same_bytes(whole: Document, saved: dict[str, Path], tmp_path: Path) -> None:
    again = save_document(a_document(whole.record), tmp_path / "report.pdf")
    assert {path.name: path.read_bytes() for path in again} == {name: path.read_bytes() for name, path in saved.items()}


@pytest.mark.usefixtures("html_alone")
def test_without_a_record_the_document_says_so(tmp_path: Path) -> None:
    paths = save_document(a_document(None), tmp_path / "report.pdf")
    assert not any("constants" in path.name for path in paths)
    assert any("No record was kept" in text for text in texts(reproducibility_page(None, "x")))
    assert "no record was kept" in (tmp_path / "report.html").read_text("utf-8")


def test_a_long_configuration_stays_on_its_page() -> None:
    figure = reproducibility_page(a_record(configuration="\n".join(f"line {n} = {'x' * 300}" for n in range(400))), "x")
    assert any("more lines" in text for text in texts(figure))
    assert title_of(figure) == "Reproducibility"
    for text in figure.findobj(Text):
        assert text.get_position()[1] > 0.05  # type: ignore[attr-defined]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = a_record(configuration="ä = 1\n")
    made.save(tmp_path)
    assert Record.load(tmp_path) == made
    assert made.settings == {"chip": "isaac", "data": None, "settings": ["a.b=1"], "out": "out"}
    assert Record.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": "1"}', '{"unknown": 1}', "null", "\x00", "[" * 5000])
def test_what_is_no_record_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text, "utf-8")
    with pytest.raises(ResultsError, match=r"record\.json: is no record of a run"):
        Record.load(tmp_path)


@pytest.mark.parametrize("name", ["constants", "sources", "settings", "packages", "computer", "took_s"])
def test_a_record_with_a_field_of_another_type_is_told(tmp_path: Path, name: str) -> None:
    a_record().save(tmp_path)
    raw = json.loads((tmp_path / "record.json").read_text("utf-8"))
    (tmp_path / "record.json").write_text(json.dumps(raw | {name: "text"}), "utf-8")
    with pytest.raises(ResultsError, match=r"record\.json: is no record of a run"):
        Record.load(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_html_page_without_a_word_on_its_console(saved: dict[str, Path], tmp_path: Path) -> None:
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", saved["report.html"].as_uri() + "#table-layers",
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in found.stderr
    assert '<details id="table-layers" open' in found.stdout  # the script ran


@pytest.mark.usefixtures("html_alone")
def test_pages_that_a_document_no_longer_has_are_removed(tmp_path: Path) -> None:
    whole = a_document(a_record())
    (tmp_path / "mine.png").write_bytes(b"not a page")
    save_document(whole, tmp_path / "report.pdf")
    listed = (tmp_path / "report_pages.txt").read_text("utf-8").splitlines()
    assert [line.split()[:2] for line in listed[:3]] == [["1", "first.png"], ["2", "contents.png"], ["3", "second.png"]]
    fewer = a_document(None)
    save_document(replace(fewer, pages={"first": fewer.pages["first"]}), tmp_path / "report.pdf")
    assert {path.name for path in tmp_path.glob("*.png")} == {"first.png", "contents.png", "reproducibility.png", "mine.png"}


def test_constants_of_several_chips_are_told_apart_with_their_sources() -> None:
    chips = {"isaac": load_chip("isaac"), "edge": load_chip("edge"), "edge with cells hfox": load_chip("edge", device="hfox")}
    made = record(Namespace(words=["sweep"]), chips, datetime(2026, 1, 1, tzinfo=UTC))
    most = [(each.of, each.value) for each in made.constants if each.key == "device.g_max"]
    assert [of for of, _ in most] == list(chips)
    assert most[1][1] != most[2][1]
    sources = {each.name: each for each in made.sources}
    assert len(sources) == len(made.sources)
    for of, chip in chips.items():
        for each in made.constants:
            if each.of == of and each.key in chip.provenance and each.source:
                written = chip.source[str(chip.provenance[each.key].source)]
                assert (sources[each.source].cite, sources[each.source].read) == (written.cite, written.read)


def test_an_argument_that_is_no_text_is_kept_readable(tmp_path: Path) -> None:
    made = record(Namespace(words=["run", "--out", "r\udcff"], out=Path("r\udcff")), {}, datetime(2026, 1, 1, tzinfo=UTC))
    made.save(tmp_path)
    assert Record.load(tmp_path) == made
    assert "udcff" in made.command
