"""Keeping a fresh teacher's embeddings readable: one space over all checkpoints.

A teacher that goes on learning drifts: an old event in the store and a new one mean different
things by the same numbers. An alignment holds the newest checkpoint's embeddings in the space of
the first, the one that the codec and the calibration rows are of, so that nothing that was stored
is written again. Whatever it learns, it learns from rows that were over when it did.
"""
