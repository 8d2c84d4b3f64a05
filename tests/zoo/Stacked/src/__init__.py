"""A stand-in model; see tests/zoo/README.md."""

from .Stacked import Stacked

__all__ = ["Stacked"]
