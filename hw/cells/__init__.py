"""Cells: conductance, programming, drift, noise and current-voltage laws of memristor devices."""
