"""Fair assignment of candidates to open positions in an organisation's network."""
