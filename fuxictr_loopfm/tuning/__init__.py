"""Choosing a teacher's hyper-parameters without its test periods."""
