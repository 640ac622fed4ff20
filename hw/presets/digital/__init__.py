"""Digital accelerators as TOML files; every number with its unit, kind and source."""
