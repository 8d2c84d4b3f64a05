"""A stand-in model; see tests/zoo/README.md."""

from .BehaviourReader import BehaviourReader

__all__ = ["BehaviourReader"]
