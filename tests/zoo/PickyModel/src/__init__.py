"""A stand-in model; see tests/zoo/README.md."""

from .PickyModel import PickyModel

__all__ = ["PickyModel"]
