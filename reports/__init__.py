"""Results on paper: tables, pictures, a PDF and a trace file, from what a run saved."""
