"""What a run found, in words: the verdict, the headline numbers, and all of it as plain text."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from xbar.reports.baseline import summary_line
from xbar.reports.efficiency import PLACES, POINTS, density, points_of, row_of, tera
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.sensitivity_page import costliest
from xbar.reports.style import human, percent, span

STATIC = "(static)"
PERCENT = "\u00a0%"


def subtitle_of(results: Results) -> str:
    """Data, weights and operations, and the widths of weights, cells, inputs and ADC."""
    chip, workload = results.meta["chip"], results.meta["workload"]
    parts = [
        f"{workload['data']}: {workload['weights']:,} weights, {human(workload['operations'], 'OP')} per request{_elsewhere(results)}",
        f"{chip['weight_bits']}-bit weights in {chip['cell_bits']}-bit cells ({chip['scheme']})",
        f"{chip['input_bits']}-bit inputs", f"{chip['adc_bits']}-bit ADC",
    ]  # fmt: skip
    return "  ·  ".join(parts)


OPERATIONS = {where: words for where, words, _ in PLACES}  # where they are done


def _shares(results: Results) -> dict[str, float]:
    """Shares of all multiply-accumulates by where they are done, in words; empty where there are none."""
    found = {words: results.meta["summary"].get(f"{where}_operations_share") for where, words in OPERATIONS.items()}
    return {words: share for words, share in found.items() if share is not None}


def _elsewhere(results: Results) -> str:
    """What of a request's multiply-accumulates is not on crossbars, or nothing."""
    shares = _shares(results)
    if shares.get(OPERATIONS["crossbar"], 1.0) == 1.0:
        return ""
    return " " + ", ".join(f"{words} ({percent(share)})" if words == OPERATIONS["crossbar"] else f"{percent(share)} {words}"
                           for words, share in shares.items() if share)  # fmt: skip


def as_stated(row: pd.Series) -> str:
    """A number of the chip file as it was written."""
    return f"{row['key']} = {float(row['value']):g}{'' if str(row['unit']) == '1' else ' ' + str(row['unit'])}"


def changes_of(results: Results) -> str:
    """What the run changed in the chip file, or nothing."""
    rows = results.provenance[results.provenance["kind"] == "override"]
    return "changed: " + ", ".join(as_stated(row) for _, row in rows.iterrows()) if len(rows) else ""


def batch_of(requests: int) -> str:
    """How many requests were simulated at once, in words."""
    return f"batch of {requests} requests" if requests > 1 else "one request"


def pace_of(results: Results) -> tuple[float, str]:
    """Requests per second, and of what: between the results of a batch, or of all its time where none comes after another."""
    s = results.meta["summary"]
    if s["steady_throughput_per_s"]:
        return s["steady_throughput_per_s"], "between results"
    return s["throughput_per_s"], "first to last" if s["requests"] > 1 else "one after another"


def verdict(results: Results) -> str:
    """What the run found, in one or two sentences."""
    a, s, shown = results.meta["score"], results.meta["summary"], ShownMetric.of(results.meta)
    single = results.meta["single_request"]
    change = shown.change(a["float"], a["chip"])
    leaked = s["leakage_energy_per_request_J"] / s["on_chip_energy_per_request_J"]
    drawn = f", {percent(leaked)} of it leakage" if leaked >= 0.005 else ""
    links = s["link_energy_per_request_J"]
    drawn += f", and {human(links, 'J')} in its off-chip links{_of_links(results)}" if links else ""
    several = s["requests"] > 1
    alone, batch = (" alone", f"in a {batch_of(int(s['requests']))} ") if several else ("", "")
    return (
        f"On {_chips(results)}{_ideal(results.meta['chip'])} the network {change} "
        f"({shown.text(a['float'])} in float, {shown.text(a['chip'])} on chip{_of_instances(a, shown)}, "
        f"{a['samples']:,} test {a['of']}), answers{alone} in {human(single['latency_s'], 's')}, and {batch}"
        f"costs {human(s['on_chip_energy_per_request_J'], 'J')} per request on chip{drawn}.{_per_token(results)}{costliest(results)}"
    )


def _chips(results: Results) -> str:
    """The chip, or how many."""
    count = chips_of(results)
    return "this chip" if count == 1 else f"{count} of these chips"


def chips_of(results: Results) -> int:
    """How many chips the network lies on."""
    return int(results.meta.get("chips", {}).get("count", 1))


def _of_links(results: Results) -> str:
    """Of the links' energy what moves bits between chips, where there are several and it is told apart from what links always draw."""
    between = results.meta.get("chips", {}).get("crossing_energy_per_request_J", 0.0)
    return f" ({human(between, 'J')} of it between chips)" if between else ""


def _crossing(results: Results) -> str:
    """What crosses between chips for a request, and its energy, in words."""
    found = results.meta["chips"]
    energy = human(found["crossing_energy_per_request_J"], "J") if found["crossing_energy_per_request_J"] else "none"
    return f"{human(found['crossing_bits_per_request'], 'bit')} a request, energy of moving it {energy}"


def _per_token(results: Results) -> str:
    """What a token takes, in a sentence, where requests are windows of tokens."""
    return f" A token: {token_text(results).partition(';')[0]}." if results.meta["workload"].get("tokens") else ""


def _ideal(chip: Mapping[str, Any]) -> str:
    """What of the chip has no error, as its file has it."""
    parts = [what for what, is_so in (("cells", chip.get("ideal_cells")), ("wires", chip["wires"] is None)) if is_so]
    return f", whose {' and '.join(parts)} are ideal as its file has them," if "cells" in parts else ""


def _of_instances(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """Of how many chips a score is the mean, with its interval and the worst of them; that chips are alike where they are."""
    if a["instances"] == 1:
        return ", all chips alike" if a.get("alike") else ", one chip"
    return f" as mean of {a['instances']} chips, 95{PERCENT} interval {_ends(a, shown)}, {shown.text(a['chip_worst'])} the worst"


def _ends(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """The interval of the mean."""
    return f"{shown.text(a['chip_low']).rpartition(chr(160))[0]} to {shown.text(a['chip_high'])}"  # the unit once


def judged(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """Which chips a score is of, in a few words."""
    if a["instances"] == 1:
        return f"{'chips are alike' if a.get('alike') else 'one chip'}, {a['samples']:,} {a['of']}"
    return f"mean of {a['instances']} chips, 95{PERCENT} interval {_ends(a, shown)}, worst {shown.text(a['chip_worst'])}"


def headlines(results: Results) -> list[tuple[str, str, str]]:
    """(label, value, detail) of the eight headline numbers."""
    m = results.meta
    a, s, single, chip, shown = m["score"], m["summary"], m["single_request"], m["chip"], ShownMetric.of(m)
    rate, of = pace_of(results)
    requests, used, crossbars = int(s["requests"]), int(s["crossbars_used"]), int(s["crossbars"])
    cells = f"of {crossbars:,}, {percent(used / crossbars)}; {percent(s['cells_of_used_crossbars_share'])} of their cells"
    several = requests > 1
    slowest = f"99th percentile of {requests}: {human(s['latency_p99_s'], 's')}" if several else "from input to result"
    timed = f"batch of {requests}, {of}" if several else of
    count = chips_of(results)
    area = "Chip area" if count == 1 else f"Area of {count} chips"
    table_power = f"at peak load {human(count * chip['peak_power_W'], 'W')}"
    energy, links = human(s["on_chip_energy_per_request_J"], "J"), human(s["link_energy_per_request_J"], "J") + _of_links(results)
    leakage = f"leakage {leaked(s['leakage_energy_per_request_J'], 'J')}"
    all_power = human(s["average_power_W"], "W")
    return [
        (f"{shown.title} on chip", shown.text(a["chip"]), f"float {shown.text(a['float'])}, {judged(a, shown)}"),
        ("Latency, one request", human(single["latency_s"], "s"), slowest),
        ("Requests per second", human(rate, ""), timed),
        ("Energy per request, on chip", energy, f"{_span_or(results, 'on_chip_energy_per_request_J', 'J', leakage)}; links {links}"),
        ("Average power, on chip", human(s["on_chip_power_W"], "W"), f"with links {all_power}, at most {human(s['peak_power_W'], 'W')}"),
        (area, human(s["area_m2"], "m²"), ", ".join(filter(None, [_span_or(results, "area_m2", "m²"), table_power]))),
        ("Crossbars in use", f"{used:,}", cells),
        ("Efficiency, on chip", human(s["on_chip_operations_per_J"], "OPS/W"), _efficiency(results)),
    ]  # fmt: skip


def _efficiency(results: Results) -> str:
    """Of the run its density on chip and its efficiency with the links; beside it the peak, the efficiency with every crossbar full."""
    with_links = f"with links {human(results.meta['summary']['operations_per_J'], 'OPS/W')}"
    if results.efficiency.empty:  # of earlier results
        return with_links
    run, peak = (row_of(results, of) for of in ("batch", "peak"))
    of_run = f"{POINTS['batch'].partition(',')[0]}, {density(run['operations_per_s_m2'])}"
    return f"{of_run}; {with_links}; peak {human(peak['operations_per_J'], 'OPS/W')}"


def leaked(value: float, unit: str) -> str:
    """A leakage; of parts whose leakage no law tells and no file states, that."""
    return human(value, unit) if value > 0 else "not modelled"


def _span_or(results: Results, quantity: str, unit: str, otherwise: str = "") -> str:
    """The outer band of a total in words, where the results have bands."""
    if results.bands.empty:
        return otherwise
    total = banded(results, "total", quantity).loc["total"]
    return span(total["low"], total["high"], unit)


def banded(results: Results, of: str, quantity: str) -> pd.DataFrame:
    """Bands of a quantity: value, low, high (outer), inner_low, inner_high by name; empty where there are none."""
    bands = results.bands
    return bands if bands.empty else bands[(bands["of"] == of) & (bands["quantity"] == quantity)].set_index("name")


def busiest_of(results: Results) -> list[tuple[str, str]]:
    """What of unit and mesh link is busy for the largest share of the time, and for which; empty where results do not tell."""
    busiest, s = results.meta.get("busiest", {}), results.meta["summary"]
    return [(f"busiest {what}", f"{busiest[name]}, {percent(s[f'busiest_{name}_share'])} of the time")
            for name, what in (("unit", "unit"), ("link", "mesh link")) if busiest.get(name)]  # fmt: skip


def _judged_lines(results: Results) -> Iterator[tuple[str, str]]:
    """The score in float, on a chip without analog errors and as described; of a language model what a token takes."""
    m, a, shown = results.meta, results.meta["score"], ShownMetric.of(results.meta)
    parts = f"float {shown.text(a['float'], 2)}, analog parts ideal {shown.text(a['ideal'], 2)}, as described {shown.text(a['chip'], 2)}"
    yield shown.title, parts
    if m["workload"].get("tokens"):
        yield "A token", token_text(results)


def token_text(results: Results) -> str:
    """Energy and time of a token, where requests are windows of tokens."""
    m, count = results.meta, int(results.meta["workload"]["tokens"])
    rate, of = pace_of(results)
    energy = human(m["summary"]["on_chip_energy_per_request_J"] / count, "J")
    return (
        f"{energy} on chip, {human(1 / (rate * count), 's')} ({of}); a request is a window of {count} tokens, computed "
        f"together in {human(m['single_request']['latency_s'], 's')}"
    )


LABEL = 28  # characters of a label in plain text


def _efficiency_lines(results: Results) -> Iterator[str]:
    """Efficiency and density at every operating point, without the off-chip links and with them, and what an operation is."""
    if results.efficiency.empty:
        return
    for of in dict.fromkeys(points_of(results)["of"]):
        own, all_of_it = (row_of(results, of, links) for links in (False, True))
        words = f"{POINTS[of][0].upper()}{POINTS[of][1:]}"
        yield (f"{words:<{LABEL}} {tera(own['operations_per_J'])} TOPS/W, {tera(own['operations_per_s_m2'] * 1e-6)} TOPS/mm²; with links "
               f"{tera(all_of_it['operations_per_J'])} TOPS/W, {tera(all_of_it['operations_per_s_m2'] * 1e-6)} TOPS/mm²")  # fmt: skip
    chip = results.meta["chip"]
    yield f"{'':<{LABEL}} a multiply-accumulate is 2 operations, of {chip['weight_bits']}-bit weights and {chip['input_bits']}-bit inputs"


def summary_text(results: Results) -> str:
    """The headline numbers as aligned plain text."""
    lines = [results.heading, subtitle_of(results), *filter(None, [changes_of(results)]), ""]
    lines += [f"{label:<{LABEL}} {value:>12}   {detail}" for label, value, detail in headlines(results)]
    operations = ", ".join(f"{percent(share)} {words}" for words, share in _shares(results).items())
    lines += [f"{'Multiply-accumulates':<{LABEL}} {operations}"] if operations else []
    lines += [f"{'Chips':<{LABEL}} {chips_of(results)}; between them {_crossing(results)}"] if chips_of(results) > 1 else []
    lines += _efficiency_lines(results)
    lines += [f"{label:<{LABEL}} {told}" for label, told in _judged_lines(results)]
    lines += [f"{what[0].upper()}{what[1:]:<{LABEL - 1}} {told}" for what, told in busiest_of(results)]
    lines += [f"{'Against digital':<{LABEL}} {line}" for line in filter(None, [summary_line(results)])]
    lines += [f"{'Left out':<{LABEL}} {text}" for text in results.meta["study"].get("left_out", ())]
    return "\n".join(lines) + "\n"
