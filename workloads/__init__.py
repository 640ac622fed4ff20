"""Data, model and metric together: one thing to run on a chip, and the command line that runs it."""
