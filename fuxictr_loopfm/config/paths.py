"""Paths that a user writes, in a configuration or on the command line."""

from __future__ import annotations

from pathlib import Path

from fuxictr_loopfm.errors import ConfigError


def user_path(text: Path | str) -> Path:
    """The path with ``~`` as the home folder, whether or not a shell replaced it.

    Raises:
        ConfigError: it begins with ``~`` and a user that this machine does not have.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{text}: expected a path, or ~ for your home folder, found a user that is not known "
            "here. Write ./~ for a folder of that name."
        ) from None


def absolute_path(text: Path | str, base: Path | str | None = None) -> Path:
    """The absolute path of a user's ``text``.

    Args:
        text: as written.
        base: what a relative path starts from; by default the current folder.

    Raises:
        ConfigError: see ``user_path``.
    """
    return (Path(base or "") / user_path(text)).resolve()
