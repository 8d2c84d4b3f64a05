"""Leaderboards derived from run records."""
