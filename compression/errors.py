"""Errors of the compression passes; each names what came and what is allowed."""


class CompressionError(ValueError):
    """A pass cannot do what was asked: a setting out of range, an unknown layer, a model it cannot read."""
