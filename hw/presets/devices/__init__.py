"""Device presets as TOML files, and their tables as CSV; every number with its unit, kind and source."""
