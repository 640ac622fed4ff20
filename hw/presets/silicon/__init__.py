"""Chips and macros that were built and measured."""
