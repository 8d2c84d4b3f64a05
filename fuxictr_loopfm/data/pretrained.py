"""Files of pretrained embeddings, which FuxiCTR copies into the encoded data, told by content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.seals import file_sha256

PRETRAINED = "pretrained_emb"


def pretrained_identity(columns: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """What an identity must hold besides the columns themselves, which only name the files.

    Args:
        columns: entries of ``feature_cols``, one name each.
    Returns:
        SHA-256 of the file by column, under one name; {} without any pretrained embedding, so that
        the fingerprints of other data are what they were before there were such.
    Raises:
        DataError: a file cannot be read.
    """
    found = {}
    for column in columns:
        if PRETRAINED not in column:
            continue
        path = str(column[PRETRAINED])
        try:
            found[str(column["name"])] = file_sha256(path)
        except OSError as error:
            raise DataError(
                f"{column['name']}: {PRETRAINED}: {path}: cannot be read: {error.strerror}. "
                "Check the path in dataset_config.yaml."
            ) from error
    return {PRETRAINED: found} if found else {}
