"""The error types of the package.

Every error a user can cause is a ``LoopFMError``; the command line prints its message alone and
exits with code 1. A message names the file and the key, what was expected, what was found and what
to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class LoopFMError(Exception):
    """Base of every error that has a remedy the user can apply."""


class ConfigError(LoopFMError):
    """A configuration is wrong. Carries all problems found, not only the first.

    Args:
        problems: each with its place, what was expected and what was found.
        remedy: what to do about all of them, a line of its own at the end.
    """

    def __init__(self, problems: str | Sequence[str], remedy: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join([*self.problems, remedy]).rstrip("\n"))


class DataError(LoopFMError):
    """A raw log or a prepared data set is missing, unreadable or breaks a stated rule."""


class OutputError(DataError):
    """The folder that a prepared data set should be written to cannot be; the raw log is fine."""


class StoreError(LoopFMError):
    """An event store or a pointer file is incomplete, altered or of an unknown version."""


class ProvenanceError(LoopFMError):
    """An artifact belongs to another data set, teacher or compressor, or has seen the future."""


class CausalityError(LoopFMError):
    """A history would hold an event that the sample could not have known."""


def did_you_mean(name: object, known: Iterable[object], prefix: str = "") -> str:
    """`` (did you mean 'x'?)`` for the known name that is nearest, or an empty text.

    Args:
        name: what was found.
        known: what could have been meant.
        prefix: shown before the nearest. Names that all begin alike are compared without it,
            because it would make any two of them similar.
    """
    close = difflib.get_close_matches(str(name), [str(item) for item in known], n=1, cutoff=0.5)
    return f" (did you mean {prefix + close[0]!r}?)" if close else ""
