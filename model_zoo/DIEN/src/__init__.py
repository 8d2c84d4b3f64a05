"""DIEN."""

from .DIEN import DIEN

__all__ = ["DIEN"]
