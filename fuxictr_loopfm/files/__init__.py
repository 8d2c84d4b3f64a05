"""Whole-or-absent files, seals, and readers for files of strangers."""
