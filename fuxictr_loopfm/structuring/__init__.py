"""Stage 3: logged embeddings become a sorted event store and causal (end, length) pointers."""
