"""Reads what an artifact says of itself: which kind it is, in which version of its format.

Every description starts with two entries, for example::

    {"schema": "loopfm.store", "version": [1, 0], ...}

A version is one number, or a major and a minor one. A release reads every minor version of the
major version it knows, and refuses another major version or another schema with one message that
says what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.plain_text import load_json
from fuxictr_loopfm.files.seals import SEAL, seal_problem, without_seal


@dataclass(frozen=True)
class Format:
    """One kind of description, and how it is refused.

    Attributes:
        schema: name of the kind, for example ``loopfm.store``.
        version: as this release writes it: a number, or (major, minor).
        error: raised for everything that cannot be read.
        rebuild: the last sentence of every message, how to get the artifact again.
        unsealed_entries: what releases before seals wrote; None if the caller refuses unknown
            entries itself, or the description has no seal.
        always_named: False if releases before seals wrote neither schema nor version.
    """

    schema: str
    version: int | tuple[int, int]
    error: type[LoopFMError]
    rebuild: str
    unsealed_entries: Collection[str] | None = None
    always_named: bool = True

    @property
    def header(self) -> dict[str, Any]:
        """``schema`` and ``version`` as they are written."""
        version = self.version if isinstance(self.version, int) else list(self.version)
        return {"schema": self.schema, "version": version}

    def read_json(self, path: Path) -> dict[str, Any]:
        """The entries of a JSON description without its seal, both checked.

        Raises:
            LoopFMError: ``error``, if the file is missing, no JSON, altered, or of another schema
                or major version.
        """
        try:
            value = load_json(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self._refused(
                str(path), f"expected a description {self.schema!r}, found none: {reason}"
            ) from error
        return self.opened(value, str(path))

    def opened(self, value: Any, source: str) -> dict[str, Any]:
        """The entries of a parsed description without its seal, both checked.

        Args:
            value: as parsed.
            source: file, or file and line, for messages.

        Raises:
            LoopFMError: ``error``, if it was altered, or is of another schema or major version.
        """
        plain = self.unsealed(value, source)
        if self.always_named or "schema" in plain:
            self.check(plain, source)
        return plain

    def unsealed(self, value: Any, source: str = "") -> dict[str, Any]:
        """The entries of a parsed description without its seal; schema and version may be others.

        Raises:
            LoopFMError: ``error``, if it is no mapping or was altered.
        """
        if not isinstance(value, Mapping):
            raise self._refused(source, f"schema: {self._expected(type(value).__name__)}")
        if SEAL in value or self.unsealed_entries is not None:
            problem = seal_problem(value, self.unsealed_entries or ())
            if problem:
                raise self._refused(source, problem)
        return without_seal(value)

    def check(self, plain: Any, source: str = "") -> None:
        """Refuse another schema or another major version.

        Args:
            plain: entries without the seal.
            source: file, or file and line, for messages; "" if the caller names it.

        Raises:
            LoopFMError: ``error``, naming the entry, what was expected and what was found.
        """
        found = plain.get("schema") if isinstance(plain, Mapping) else type(plain).__name__
        if found != self.schema:
            raise self._refused(source, f"schema: {self._expected(found)}")
        found, wanted = plain.get("version"), self._major(self.version)
        if self._major(found) != wanted:
            raise self._refused(
                source,
                f"version: expected major version {wanted}, found {found!r}. Use the release that "
                "wrote it, or",
                ": ",
            )

    def _expected(self, found: object) -> str:
        return f"expected {self.schema!r}, found {found!r}"

    def _refused(self, source: str, problem: str, joint: str = ". ") -> LoopFMError:
        place = f"{source}: " if source else ""
        return self.error(f"{place}{problem}{joint}{self.rebuild}")

    def _major(self, version: Any) -> int | None:
        """The major number; None for what is no version of this format."""
        numbers = [version] if isinstance(self.version, int) else version
        length = 1 if isinstance(self.version, int) else 2
        if not isinstance(numbers, (list, tuple)) or len(numbers) != length:
            return None
        if not all(type(number) is int for number in numbers):
            return None
        return int(numbers[0])
