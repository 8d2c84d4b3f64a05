"""Sequence encoders: event tokens (E, D) and windows to one vector per sample. Torch only."""
