"""How fair assignment was done, what is assumed, where numbers come from."""

from matplotlib.figure import Figure

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import chip_text
from xbar.reports.style import human, page, percent, sections

MEASURES = (
    "Ratio of selection rates: the smallest over the largest share of a group's candidates who are chosen; below {floor:g} United States "
    "practice sees adverse impact (four-fifths rule, 29 CFR 1607.4 D). Newman's r: Phys. Rev. E 67, 026126 (2003). Alone: members "
    "without a neighbour of their class. Ties and cores: mean degree and core number of a class, smallest over largest."
)


def method(sheet: FaireaSheet) -> Figure:
    """How it was done, what is assumed, where numbers come from."""
    figure = page("Method, assumptions, sources", "what the numbers rest on")
    files = " ".join(f"{text[0].upper()}{text[1:]}." for text in sheet.meta["told"])
    left = " ".join(f"Left out: {text}." for text in sheet.meta["left_out"])
    texts = {"Files": files} if files else {}
    if "world" in sheet.meta:
        texts |= _made_up(sheet)
    else:
        texts["Problem"] = (
            "After Jalali, Kenthapadi and Soundarajan (CompleNet 2021, arXiv 2105.06929): candidates to open positions of a network, high "
            "fitness and Newman's assortativity r near 0. FairEA follows the authors' released code with its defects mended. Every method "
            "fills as many positions as can be filled; what stays open is left out of every measure. Candidates and fitness are the "
            "organisation's own; fitness is taken as it is given, and whether it is fair itself is not seen here."
        )
    texts["Measures"] = MEASURES.format(floor=sheet.meta["four_fifths"]) + (f" {left}" if left else "")
    if sheet.on_chip:
        texts |= _of_chips(sheet)
    sections(figure, texts)
    return figure


def _made_up(sheet: FaireaSheet) -> dict[str, str]:
    m, w = sheet.meta, sheet.meta["world"]
    shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in w["shares"].items())
    return {
        "Problem": (
            "After Jalali, Kenthapadi and Soundarajan (CompleNet 2021, arXiv 2105.06929): candidates to open "
            "positions of a network, high fitness and Newman's assortativity r of one attribute near 0. FairEA "
            "follows the authors' released code with its defects mended. The network, the classes and who held what "
            f"are given; {m['open']} positions are opened, at random where no file names them; candidates are their holders and as many "
            f"more of each class as to have {m['study']['pool']} for each position. A candidate qualifies for the "
            f"position held and {w['more_positions']} random ones."
        ),
        "Truth": (
            f"Features and outcomes are generated. {w['skills']} skills s of a person, N(profile of the class, 1); "
            f"demands d of a position, uniform on the simplex, mean 1/2; fitness = logistic({w['steepness']:g} s·d / "
            f"√{w['skills']}); an outcome is 1 with that probability, its logit blurred by N(0, "
            f"{w['outcome_noise']:g}²). Profiles of classes differ by {w['profile_shift']:g} in each skill, up in "
            f"half and down in half. The network also sees {w['background']} numbers that tell the class and are no "
            "part of the truth: given the skills, true fitness does not depend on the class. A holder was the best "
            f"of {w['applicants']} applicants by the blurred truth."
        ),
        "Network": (
            f"Two towers of 32, a perceptron of 64 and 32; {m['study']['pairs']:,} generated pairs with the "
            f"network's classes ({shares}), {m['study']['epochs']} epochs; on pairs not seen its scores correlate "
            f"with the truth by {m['test_correlation']:.3f}, root mean square error {m['test_rmse']:.3f}. All "
            "qualified pairs are scored, each through the whole network, so that read noise is fresh for each pair."
        ),
    }


def _of_chips(sheet: FaireaSheet) -> dict[str, str]:
    m, j = sheet.meta, sheet.meta["judged"]
    writes = "; ".join(
        f"{name.replace('_', ' ')} {human(each['value'], each['unit'].partition(' ')[0])} a pulse: "
        f"{'of the chip file' if each['own'] else each['why']}"
        for name, each in m["writes"].items()
    )
    pcm = f"phase-change cells in place of its own (preset pcm, {j['drift_levels']} levels, as many bits of them used)"
    drifting = "the chip's own cells" if j["drift_is_own"] else pcm
    return {
        "Chip": (
            f"{chip_text(sheet)}; {j['cell_bits']} bits a cell, {j['adc_bits']}-bit ADC. An instance is one chip "
            f"with cells drawn anew. Drift: of {drifting}, compensated by one digital factor a layer from a "
            "reference read, or not."
        ),
        "Passed over": (
            "Changed: open positions whose candidate is another one. Dropped: chosen in float, and without any "
            "position on the chip. Ratio of selection rates: minority's over majority's share of candidates who are "
            "chosen; four fifths dotted. Regret (tables): fitness lost against the float matching over the range of "
            "fitness, by float scores and by the truth; it may be below 0, since FairEA does not maximise fitness. "
            "FairEA sees fitness in tenths of the largest: errors matter where they cross a tenth."
        ),
        "Intervals": (
            "95 %, Student's t over chip instances, each a cluster: pairs on one chip share its errors. Ratios: "
            "linearised. Differences to the control: Welch, or paired where both saw the same openings. Intervals "
            "of one opening say nothing of other candidates; those of many openings and pools do, for one trained "
            "network each. Several gaps are told: one in twenty such intervals leaves 0 out by chance."
        ),
        "Energy": (
            f"Events of the simulation, one copy of each layer, links apart. Writing: {writes}. All scale in proportion."
        ),
    }
