"""How configuration keys are spelled: the prefix of ours, and several names in one text."""

from __future__ import annotations

PREFIX = "loopfm_"


def split_names(text: str | None) -> tuple[str, ...]:
    """``"a+b"`` as ``("a", "b")``; null as ``()``. One string, because the tuner takes a list for
    an axis of its grid."""
    return tuple(part.strip() for part in text.split("+") if part.strip()) if text else ()
