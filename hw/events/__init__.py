"""Requests in, ledger out: what happens when on a chip, and what it costs."""
