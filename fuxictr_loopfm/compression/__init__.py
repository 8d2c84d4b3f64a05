"""Stage 2: a teacher's activations (B, D) -> embeddings (B, d) in [-1, 1] -> a few bytes each.

``autoencoder`` (torch) shortens the vector, ``quantizer`` (numpy) packs it for the event store.
"""
