"""A stand-in model; see tests/zoo/README.md."""

from .OwnTables import OwnTables

__all__ = ["OwnTables"]
