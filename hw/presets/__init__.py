"""Chip presets as TOML files; every number with its unit, kind and source."""
