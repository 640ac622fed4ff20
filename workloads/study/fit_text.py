"""What was found in measured cells, in words: the summary, and what the data leave unknown. Units for people."""

import math
import textwrap

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second

from xbar.reports.style import human, significant, span
from xbar.workloads.study.fit_choice import NEGLIGIBLE, Estimate, share
from xbar.workloads.study.fit_device import DeviceFit
from xbar.workloads.study.fit_outliers import Rate
from xbar.workloads.study.fit_reads import DriftFit, ReadFit
from xbar.workloads.study.fit_writes import TITLES

WIDTH = 118  # of lines of the summary
SURE = 0.01  # chance below which a difference is called one
BENT = 1e-3  # of G, from which on a bend is told
FAR = 100  # nats a cell behind, from which on how far is no matter


# ---- numbers


def plus_minus(found: Estimate, unit: str) -> str:
    """Value and standard error in one unit, as 0.265 ± 0.023 µS; unit: S, % or 1."""
    factor, name = _scale(max(abs(found.value), found.error), unit)
    places = _places(found.error * factor)
    return f"{found.value * factor:.{places}f} ± {found.error * factor:.{places}f}{name}"


def interval(found: Estimate, unit: str, least: float = -math.inf) -> str:
    """The 95 % interval in one unit, as 0.219 to 0.311 µS."""
    factor, name = _scale(max(abs(found.value), found.error), unit)
    places = _places(found.error * factor)
    return f"{max(found.low, least) * factor:.{places}f} to {found.high * factor:.{places}f}{name}"


def _scale(size: float, unit: str) -> tuple[float, str]:
    if unit == "S":
        factor, name = siemens(size)
        return factor, f" {name}"
    return (100.0, " %") if unit == "%" else (1.0, "")


def siemens(size: float) -> tuple[float, str]:
    return (1e3, "mS") if size >= 1e-3 else (1e6, "µS") if size >= 1e-8 else (1e9, "nS")


def _places(error: float) -> int:
    """Decimals that show two digits of an error."""
    return min(9, max(0, 1 - math.floor(math.log10(error)))) if error > 0 and math.isfinite(error) else 3


def percent_text(part: float) -> str:
    return f"{significant(100 * part, 2)} %"


def time_text(seconds: float) -> str:
    """A time as people say it."""
    for size, unit in ((365.25 * 86400.0, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            count = seconds / size
            return f"{count:.3g} {unit.removesuffix('s') if count == 1 else unit}"
    return human(seconds, "s").replace("\u00a0", " ")


def rate_text(rate: Rate) -> str:
    return f"{rate.count} of {rate.seen:,} cells, {percent_text(rate.share)} (95 %: {percent_text(rate.low)} to {percent_text(rate.high)})"


# ---- the summary


def facts(fit: DeviceFit) -> str:
    """All in one line."""
    parts = [f"{fit.writes.cells:,} cells, {_ends(fit)}", f"spread of writes: {TITLES[fit.choice.name]}"]
    if fit.reads is not None:
        parts.append(f"read noise {significant(100 * fit.reads.sigma.value)} %, {fit.reads.name}")
    if fit.drift is not None and not why_no_drift(fit.drift):
        parts.append(f"drift exponent {significant(fit.drift.exponent.value)}")
    return "; ".join(parts).replace("\u00a0", " ")


def _ends(fit: DeviceFit) -> str:
    """From g_min to g_max."""
    near = fit.g_min == 0 or fit.g_max / fit.g_min < 1e4
    return span(fit.g_min, fit.g_max, "S") if near else f"{human(fit.g_min, 'S')} to {human(fit.g_max, 'S')}"


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def judged(fit: DeviceFit) -> str:
    """What the held-out cells say of the chosen model."""
    judge = fit.judgement
    wide = abs(judge.spread.value - 1) <= judge.spread.half
    width = "as wide as the model says" if wide else f"{'wider' if judge.spread.value > 1 else 'narrower'} than the model says"
    shape = "normal as far as they tell" if judge.chance >= SURE else "not normal: the model's shape is in doubt"
    hidden = ""
    if fit.writes.hidden:
        (found,) = fit.writes.parameters().values()
        hidden = f" The spread of writes is not told apart from read noise: below {significant(100 * found.high)} % (95 %)."
    return (
        f"Held-out errors over the model's spread: {plus_minus(judge.spread, '1')} (1 where it is right), "
        f"{100 * judge.beyond:.1f} % beyond 1.96 (5 %); chance of a distribution as far from normal {judge.chance:.2f}. "
        f"They are {width}, and {shape}.{hidden}"
    )


def spread_text(cells: pd.DataFrame) -> str:
    """How wide held-out cells lie, by the law of the others."""
    z = cells.loc[cells["held_out"] & ~cells["odd"], "z"].to_numpy()
    z = z[np.isfinite(z)]
    if len(z) < 3:
        return ""
    spread = float(np.sqrt(np.mean(z**2)))
    found = Estimate(spread, spread * math.sqrt(1.5 / (2 * len(z))), len(z))
    return f" Held-out cells' errors over the law's: {plus_minus(found, '1')} (1 where it is right)."


def near_text(fit: DeviceFit) -> str:
    """Which other models these data do not tell from the chosen one; empty where there are none."""
    table = fit.choice.table
    within = table.index[table["behind"] <= np.maximum(table["behind_error"], NEGLIGIBLE)]
    near = [TITLES[str(name)] for name in within if name != fit.choice.name]
    if not near:
        return ""
    return f"Within one standard error of the best too, so not told apart from the chosen: {'; '.join(near)}."


def bias_text(fit: DeviceFit) -> str:
    """The bias of writes, which the file cannot hold."""
    places = np.array([fit.g_min, (fit.g_min + fit.g_max) / 2, fit.g_max])
    offset, error = fit.writes.offset(places)
    told = "; ".join(f"{plus_minus(Estimate(o, e), 'S')} at {human(p, 'S')}" for o, e, p in zip(offset, error, places, strict=True))
    spread = fit.writes.sigma(places)
    count = len(fit.writes.bias)
    square = fit.writes.bias @ np.linalg.pinv(fit.writes.covariance[:count, :count]) @ fit.writes.bias
    if scipy.stats.chi2.sf(square, count) > SURE:
        return f"Bias, mean of writes less target: {told}: none is seen. A device file's writes aim at the target."
    worst = int(np.argmax(np.where(np.abs(offset) > 1.96 * error, np.abs(offset) / np.maximum(spread, 1e-30), 0)))
    lose = fit.judgement.aimed
    shown = f"Held-out writes lose {plus_minus(lose, '1')} nats each by that." if lose.value > 0 else "The held-out writes do not show it."
    both = math.hypot(offset[worst], spread[worst])
    return (
        f"Bias, mean of writes less target: {told}. The file cannot hold it, its writes aim at the target: "
        f"at {human(places[worst], 'S')} a "
        f"write errs by {human(both, 'S')} (root mean square), and by {human(spread[worst], 'S')} in the file. {shown}"
    )


def outliers_text(fit: DeviceFit) -> list[str]:
    """Stuck and stray cells."""
    found, said = fit.outliers, []
    names = (
        ("lower", "stuck_off_rate", found.off, found.off_level, fit.g_min),
        ("upper", "stuck_on_rate", found.on, found.on_level, fit.g_max),
    )
    for end, name, rate, level, at in names:
        if rate.seen == 0:
            said.append(f"Cells stuck at the {end} end would not stand out from others: {name} is unknown, and left out.")
            continue
        if rate.count == 0:
            said.append(
                f"None of {rate.seen:,} cells is stuck at the {end} end: {name} is below {percent_text(rate.high)} (95 %), and left out."
            )
            continue
        where = f", at {human(level, 'S')} on the mean, where the model has {human(at, 'S')}"
        kept = "in the file" if rate.clear else "one is too few for a rate, which is left out"
        said.append(f"Stuck at the {end} end: {rate_text(rate)}{where}: {name}, {kept}. They are not in the spread.")
    if found.strays:
        part = share(found.strays, fit.measured.writes.cells)
        said.append(
            f"Astray: {found.strays} cell{'s' * (found.strays > 1)}, {percent_text(part[0])} (95 %: {percent_text(part[1])} to "
            f"{percent_text(part[2])}), more than {found.limit:.1f} spreads from the middle of their target, at neither end. "
            "Not in the spread; no model has them, and a chip would: look at them."
        )
    return said


def reads_text(reads: ReadFit) -> list[str]:
    """Read noise."""
    row = reads.choice.table.drop(index=reads.choice.name).iloc[0]
    other = next(name for name in reads.both if name != reads.choice.name)
    lead = f"{row['behind']:.2f} ± {row['behind_error']:.2f} nats a cell behind" if row["behind"] > 0 else "no worse"
    told = "" if row["behind"] > row["behind_error"] else "; the data do not tell the two apart"
    lines = [
        f"{reads.name}: the {other} model is {lead} on {reads.choice.cells} held-out cells{told}. Spread goes as G^p, "
        f"p = {plus_minus(reads.power, '1')} (1 proportional, 0 independent).{spread_text(reads.cells)}"
    ]
    if math.isfinite(reads.correlation.value):
        goes = (
            "go together: noise is slow, see read_correlation_time" if reads.correlation.low > 0 else "are independent as far as they tell"
        )
        lines.append(f"Neighbouring reads correlate at {plus_minus(reads.correlation, '1')}: they {goes}.")
    odd = int(reads.cells["odd"].sum())
    if odd:
        done = "they are so many that they count" if reads.kept_odd else "they are left out of the noise (telegraph noise? drift?)"
        lines.append(f"{odd} of {len(reads.cells)} cells scatter far more than the others, or read 0 S: {done}.")
    return lines


def drift_text(drift: DriftFit) -> list[str]:
    """Drift."""
    t0 = {
        "fitted": f"t0 = {human(drift.t0, 's')}, found in the data ({span(*drift.t0_interval, 's')})",
        "given": f"t0 = {drift.t0:g} s, as given",
        "assumed": f"t0 = {drift.t0:g} s, assumed: the data do not tell it; give --reference-time",
    }[drift.t0_kind]
    lines = [
        f"{t0}. {len(drift.cells)} cells, {time_text(drift.times[0])} to {time_text(drift.times[1])}; one value lies "
        f"{percent_text(drift.error)} off its cell's line.{spread_text(drift.cells)}"
    ]
    row = drift.choice.table.loc[drift.choice.name]
    used = "used" if drift.slope_used else f"not used: on {drift.choice.cells} held-out cells it is not worth its parameter"
    if drift.choice.name == "slope" and not drift.slope_used:
        used = "not used: its 95 % interval has 0 inside"
    lines.append(f"Slope with ln g {plus_minus(drift.slope, '1')}, {used} (the law has {row['parameters']:.0f} parameters).")
    bend = abs(drift.curvature.value) * math.log1p(drift.times[1] / drift.t0) ** 2 / 4  # of a parabola from the line between its ends
    if bend > BENT and not drift.curvature.low <= 0 <= drift.curvature.high:
        lines.append(
            f"ln G is not straight in ln((t + t0) / t0): it bends by {percent_text(bend)} of G. A power law is not the law of these cells; "
            "beyond the last time it says little."
        )
    below = share(int((drift.cells["exponent"] < 0).sum()), len(drift.cells))[0]
    if below > 0:
        lines.append(
            f"{percent_text(below)} of the cells gain conductance; the model takes the magnitude of an exponent, so its cells all lose."
        )
    odd = int(drift.cells["odd"].sum())
    if odd:
        lines.append(
            f"{odd} cells drift far more, or less, than the others: {'so many that they count' if drift.kept_odd else 'left out'}."
        )
    if why_no_drift(drift):
        lines.append(f"Left out of the file: {why_no_drift(drift)}.")
    return lines


def why_no_drift(drift: DriftFit) -> str:
    """Why the file says nothing of drift; empty where it does."""
    if drift.high > 0 if drift.slope_used else drift.exponent.low > 0:
        return ""
    seen = "conductance grows" if drift.exponent.high < 0 else "no loss is seen on the mean"
    spread = f"{drift.spread.value:.4f}"
    return f"{seen}, exponent {plus_minus(drift.exponent, '1')} over cells that spread by {spread}; the model's cells all lose"


def unknown(fit: DeviceFit) -> list[str]:
    """What these data cannot tell, with the fields of a device file that it is about."""
    once = fit.rewritten < 1.5
    known = [
        "read noise: no repeated reads were given; the spread of writes has the noise of one read in it" * (fit.reads is None),
        "drift: none was given, so cells of the file keep their conductance" * (fit.drift is None),
        f"levels: {fit.levels_why}" * bool(fit.levels_why),
        "read_voltage: not given; energies of reads then take the chip's own" * (fit.read_voltage is None),
        "write_verify_tolerance, write_verify_most: the spread is that which your way of writing leaves, pulses and verifying together",
        "device_to_device_sigma: "
        + (
            "cells were written once, so what a cell repeats is in the spread of writes"
            if once
            else f"cells were written {fit.rewritten:.1f} times each; what a cell repeats is in the spread of writes, not apart"
        ),
        "write_energy, write_time, endurance; limit_to_range",
        "telegraph_share, telegraph_amplitude, telegraph_dwell_time; read_bandwidth; noise that grows with time (flicker)",
        "temperature, activation_energy, reference_temperature: what was measured holds for its temperature",
        "iv and its constants: what was measured holds for its read voltage",
        "what a read or a neighbour's write disturbs; cells of other chips than the one measured",
    ]
    if fit.drift is not None:
        known.insert(4, f"drift beyond {time_text(fit.drift.times[1])}; how the exponents' spread goes with conductance")
    return [text for text in known if text]


def parameters(fit: DeviceFit) -> list[tuple[str, str, str]]:
    """Field, value with standard error, and 95 % interval of all that was fitted."""
    rows = []
    polynomial = fit.writes.name.startswith("polynomial")
    for name, found in fit.writes.parameters().items():
        label = f"sigma at {human(float(name), 'S')}" if fit.writes.name == "table" else name
        unit = "S" if polynomial or fit.writes.name == "table" else "%"
        rows.append((label, plus_minus(found, unit), interval(found, unit, -math.inf if polynomial else 0)))
    for name, rate in (("stuck_off_rate", fit.outliers.off), ("stuck_on_rate", fit.outliers.on)):
        if rate.clear:
            rows.append((name, percent_text(rate.share), f"{percent_text(rate.low)} to {percent_text(rate.high)}"))
    if fit.reads is not None:
        rows.append(("read_noise_sigma", plus_minus(fit.reads.sigma, "%"), interval(fit.reads.sigma, "%", 0)))
    if fit.drift is not None and not why_no_drift(fit.drift):
        rows.append(("drift_exponent", plus_minus(fit.drift.exponent, "1"), interval(fit.drift.exponent, "1")))
        if fit.drift.slope_used:
            rows.append(("drift_exponent_slope", plus_minus(fit.drift.slope, "1"), interval(fit.drift.slope, "1")))
        rows.append(("drift_exponent_sigma", plus_minus(fit.drift.spread, "1"), interval(fit.drift.spread, "1", 0)))
    return rows


def models_text(fit: DeviceFit) -> str:
    """The table of models, best first."""
    rows = {}
    for name, row in fit.choice.table.sort_values("behind", kind="stable").iterrows():
        label = f"{'>' if name == fit.choice.name else ' '} {TITLES[str(name)]}"
        if row["why"]:
            rows[label] = {"parameters": "", "log-likelihood": "", "behind the best": row["why"]}
            continue
        behind = "best" if name == fit.choice.best else f"{row['behind']:.4f} ± {row['behind_error']:.4f}"
        if row["behind"] > FAR:
            behind, likely = f"over {FAR}", ""
        else:
            likely = f"{row['held_out']:.3f} ± {row['held_out_error']:.3f}"
        rows[label] = {"parameters": f"{row['parameters']:.0f}", "log-likelihood": likely, "behind the best": behind}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("  model").reset_index()
    return table.to_string(
        index=False, justify="left", formatters={"  model": lambda text: f"{text:24}", "behind the best": lambda text: f"{text:24}"}
    )


def notes(fit: DeviceFit) -> tuple[str, ...]:
    """What stands below the page's pictures."""
    lines = [judged(fit), bias_text(fit), *outliers_text(fit)]
    lines.append(f"Not told by these data: {'; '.join(text.partition(':')[0] for text in unknown(fit))}.")
    return tuple(line.replace("\u00a0", " ") for line in lines)


def summary(fit: DeviceFit) -> str:
    """All of it as text."""
    measured, kept = fit.measured, fit.writes.cells
    lines = [
        fit.title,
        "",
        f"{measured.writes.name}: {len(measured.writes.frame):,} writes of {measured.writes.cells:,} cells to "
        f"{len(np.unique(fit.data.target)):,} targets, {_ends(fit)}; {kept:,} cells in the spread",
    ]
    for each, what in ((measured.reads, "reads"), (measured.drift, "values")):
        if each is not None:
            lines.append(f"{each.name}: {len(each.frame):,} {what} of {each.cells:,} cells")
    lines += [
        "",
        f"Spread of writes: models fitted to two thirds of the cells, judged by the {fit.choice.cells:,} others",
        "(mean log-likelihood of a held-out cell, nats, of conductance in µS; > is chosen: fewest parameters within one standard",
        "error of the best)",
        "",
        models_text(fit),
        "",
        *wrapped(near_text(fit)),
        *wrapped(judged(fit)),
        *wrapped(bias_text(fit)),
    ]
    for text in outliers_text(fit):
        lines += wrapped(text)
    if fit.reads is not None:
        lines += ["", "Read noise", *(line for text in reads_text(fit.reads) for line in wrapped(text))]
    if fit.drift is not None:
        lines += ["", "Drift", *(line for text in drift_text(fit.drift) for line in wrapped(text))]
    table = parameters(fit)
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines += ["", f"Fitted to all {kept:,} cells: value ± standard error, and 95 % interval"]
    lines += [f"  {name:{wide[0]}}  {value:>{wide[1]}}   {ends}" for name, value, ends in table]
    lines += ["", "What these data do not tell (left out of the file unless said otherwise)"]
    lines += [f"- {line}" if k == 0 else f"  {line.strip()}" for text in unknown(fit) for k, line in enumerate(wrapped(text))]
    return "\n".join([*lines, ""]).replace("\u00a0", " ")
