"""Errors that the simulated hardware raises at its public doors; each names what came and what is allowed."""


class HardwareError(ValueError):
    """Base of every error that `hw` raises on purpose."""


class ParameterError(HardwareError):
    """A single argument or field is outside what it may be."""


class ConfigurationError(HardwareError):
    """A chip file or an override is wrong; the message names file, key, value and what is allowed."""

    def __init__(self, file: str, problems: list[tuple[str, str, str]]):
        """`problems` lists (dotted key, value as written, what is allowed)."""
        self.file = file
        self.problems = problems
        lines = [f"{file}: {key} = {value}: {allowed}" for key, value, allowed in problems]
        super().__init__("\n".join(lines))


class MappingError(HardwareError):
    """A weight matrix cannot be put on the crossbars as asked."""


class TraceError(HardwareError):
    """A torch model has a part that the chip has no way to run."""


class CapacityError(HardwareError):
    """The network needs more crossbars than the chip has.

    Attributes: `needed`, `available` and `missing`, all in crossbars.
    """

    def __init__(self, message: str, needed: int = 0, available: int = 0):
        self.needed = needed
        self.available = available
        self.missing = needed - available
        super().__init__(message)


class ConvergenceError(HardwareError):
    """An iterative solution was not found to the tolerance asked; nothing approximate is returned instead."""
