"""Times after programming, as studies take them and pages name them; imports nothing that draws."""

DAY = 86400.0
YEAR = 365.25 * DAY
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": DAY, "month": YEAR / 12, "year": YEAR}


def time_text(seconds: float) -> str:
    """A time in the largest unit of which it holds one or more, in seconds where it is below one."""
    unit, size = next(((unit, size) for unit, size in reversed(UNITS.items()) if seconds >= size * (1 - 1e-9)), ("s", 1.0))
    count = f"{seconds / size:.3g}" if seconds < 999.5 * size else f"{seconds / size:.0f}"
    plural = "s" if unit in ("day", "month", "year") and count != "1" else ""
    return f"{count} {unit}{plural}"


TIMES = {time_text(seconds): seconds for seconds in (*UNITS.values(), 10 * YEAR)}  # that studies take unless told otherwise
