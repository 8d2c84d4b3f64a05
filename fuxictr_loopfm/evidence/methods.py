"""The methods that are compared: what each is made of, and how it is named in expids."""

from __future__ import annotations

from typing import Any

BASE = "base"
# Method -> the loopfm_* keys that make it, in the order in which tables list the methods.
METHODS: dict[str, dict[str, Any]] = {
    BASE: {},
    "KD": {"loopfm_kd": "aux_head"},
    "raw_seq": {"loopfm_history": "ids"},
    "raw_seq+label": {"loopfm_history": "ids+label"},
    "LoopFM": {"loopfm_history": "embedding"},
    "LoopFM+label": {"loopfm_history": "embedding+label"},
    "KD+LoopFM": {"loopfm_kd": "aux_head", "loopfm_history": "embedding"},
    "KD+LoopFM+label": {"loopfm_kd": "aux_head", "loopfm_history": "embedding+label"},
}


def method_slug(method: str) -> str:
    """``KD+LoopFM+label`` as ``kd_loopfm_label``, the end of an expid."""
    return method.lower().replace("+", "_")
