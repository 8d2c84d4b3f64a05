"""One run of an expid, from its artifacts to its record."""
