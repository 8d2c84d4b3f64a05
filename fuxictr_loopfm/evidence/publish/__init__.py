"""Writes the committed pages of published runs, each from the runs' records."""
