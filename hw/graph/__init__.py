"""A network as a graph of operators: what is computed, and what must exist before."""
