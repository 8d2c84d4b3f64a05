"""From prepared data and event stores to batches: encoding, loaders, histories."""
