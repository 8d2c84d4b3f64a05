"""Artifacts that build themselves: teacher, log, store, pointers."""
