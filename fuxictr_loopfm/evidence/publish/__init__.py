"""Committed entries, rendered from records."""
