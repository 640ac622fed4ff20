"""How long a study will take, told when its first accuracy is known: how many are to come, times what one took."""

import time
from collections.abc import Callable, Iterable

Measure = Callable[[list[int]], Iterable[dict[int, float]]]


class Timed:
    """Seconds that measured points took, and how many they were."""

    def __init__(self) -> None:
        self.seconds, self.points = 0.0, 0

    def of(self, measure: Measure, places: list[int]) -> Iterable[dict[int, float]]:
        """What `measure` gives, timed."""
        began = time.monotonic()
        for found in measure(places):
            now = time.monotonic()
            self.seconds, self.points, began = self.seconds + now - began, self.points + len(found), now
            yield found
            began = time.monotonic()

    def told(self, ahead: int) -> str:
        """What so many points more will take, in words; empty where nothing was timed or nothing is ahead."""
        if not self.points or not ahead:
            return ""
        each = self.seconds / self.points
        return f"{ahead} scores of a chip to come, {each:.3g} s each so far: {duration(ahead * each)}"


def duration(seconds: float) -> str:
    """A time to come, no finer than it can be known."""
    if seconds < 60:
        return "less than a minute"
    minutes = seconds / 60
    return f"about {minutes:.0f} minute{'s' if minutes >= 1.5 else ''}" if minutes < 90 else f"about {minutes / 60:.1f} hours"
