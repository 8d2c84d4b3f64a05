"""Runs and what comes of them: training, records, metrics and leaderboards."""
