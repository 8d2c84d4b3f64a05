"""FmFM."""

from .FmFM import FmFM

__all__ = ["FmFM"]
