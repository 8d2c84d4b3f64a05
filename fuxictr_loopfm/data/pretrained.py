"""Files of pretrained embeddings, which FuxiCTR copies into the encoded data, told by content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fuxictr_loopfm.errors import DataError, LoopFMError
from fuxictr_loopfm.files.seals import file_sha256

PRETRAINED = "pretrained_emb"
_FORMATS = (".h5", ".npz", ".parquet")


def pretrained_identity(columns: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """What an identity must hold besides the columns themselves, which only name the files.

    Args:
        columns: entries of ``feature_cols``, one name each.
    Returns:
        SHA-256 of the file by column, under one name; {} without any pretrained embedding, so that
        the fingerprints of other data are what they were before there were such.
    Raises:
        DataError: a file cannot be read, or is of a format that FuxiCTR does not read.
    """
    found = {}
    for column in columns:
        if PRETRAINED not in column:
            continue
        path = str(column[PRETRAINED])
        if not path.endswith(_FORMATS):
            raise DataError(
                f"{column['name']}: {PRETRAINED}: {path}: expected a file that ends in one of "
                f"{list(_FORMATS)}, found another. Write the embeddings in one of these formats."
            )
        try:
            found[str(column["name"])] = file_sha256(path)
        except OSError as error:
            raise DataError(
                f"{column['name']}: {PRETRAINED}: {path}: cannot be read: {error.strerror}. "
                "Check the path in dataset_config.yaml."
            ) from error
    return {PRETRAINED: found} if found else {}


@contextmanager
def pretrained_errors(columns: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """FuxiCTR's errors on the contents of such files inside the block become one message.

    Raises:
        DataError: a file does not hold keys and values; without such files the error itself.
    """
    try:
        yield
    except (KeyError, ValueError) as error:
        paths = {str(column[PRETRAINED]) for column in columns if PRETRAINED in column}
        if not paths or isinstance(error, LoopFMError):
            raise
        raise DataError(
            f"{PRETRAINED}: {', '.join(sorted(paths))}: expected arrays 'key' and 'value', one row "
            f"an id, found {type(error).__name__}: {error}. Write the embeddings so."
        ) from error
