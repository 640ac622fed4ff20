"""Passes over a torch model, each with the hardware constraint it serves. None is written yet."""
