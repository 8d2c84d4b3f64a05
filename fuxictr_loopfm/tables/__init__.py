"""Embedding tables whose optimizer steps cost what a batch touches, not what the tables hold."""
