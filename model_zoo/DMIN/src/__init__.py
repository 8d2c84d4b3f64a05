"""DMIN."""

from .DMIN import DMIN

__all__ = ["DMIN"]
