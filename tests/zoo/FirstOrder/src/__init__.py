"""A stand-in model; see tests/zoo/README.md."""

from .FirstOrder import FirstOrder

__all__ = ["FirstOrder"]
