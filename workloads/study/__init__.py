"""From a question to saved results: runs, sweeps, pins, compression, and what they are judged by."""
