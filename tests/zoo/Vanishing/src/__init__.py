"""A stand-in model; see tests/zoo/README.md."""

from .Vanishing import Vanishing

__all__ = ["Vanishing"]
