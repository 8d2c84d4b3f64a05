"""FM."""

from .FM import FM

__all__ = ["FM"]
