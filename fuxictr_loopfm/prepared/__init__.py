"""The prepared event log on disk: one row per impression, in time order."""
