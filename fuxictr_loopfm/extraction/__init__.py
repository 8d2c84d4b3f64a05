"""Stage 1: one pass of a teacher over the log -> logits and tapped activations per impression.

``tap`` says which activations are read, ``extractor`` runs the pass.
"""
