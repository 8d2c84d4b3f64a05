"""A stand-in model; see tests/zoo/README.md."""

from .Flattened import Flattened

__all__ = ["Flattened"]
