"""DMR."""

from .DMR import DMR

__all__ = ["DMR"]
