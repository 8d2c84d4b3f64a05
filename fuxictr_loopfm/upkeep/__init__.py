"""Checking artifacts and deleting what must go."""
