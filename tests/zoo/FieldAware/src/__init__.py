"""A stand-in model; see tests/zoo/README.md."""

from .FieldAware import FieldAware

__all__ = ["FieldAware"]
