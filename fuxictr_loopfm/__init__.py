"""LoopFM for FuxiCTR: a teacher's embeddings of past impressions as a history feature."""

__version__ = "0.1.0"
__all__ = ["__version__"]
