"""Data, model and metric together: one thing to run on a chip, and the command line that runs it."""

import os

# Before torch loads GNU OpenMP: a thread that waits spins only briefly, then sleeps. Measured on two cores, a study of
# many small products: alone 6.2 s as it comes, 6.6 s so; next to another busy process 79 s as it comes, 9 s so.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
