"""One stack of crossbars: weights to cell levels, wires, converters, and the product that is read."""
