"""A stand-in model; see tests/zoo/README.md."""

from .DINLike import DINLike

__all__ = ["DINLike"]
