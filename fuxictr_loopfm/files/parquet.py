"""Reads parquet so that a damaged file ends with a message, and a lack of memory is no damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from fuxictr_loopfm.errors import DataError


@contextmanager
def reading(place: object, remedy: str = "") -> Iterator[None]:
    """Name the file in the errors of the block that reads it.

    Args:
        place: the file, or a column in it.
        remedy: what to do, as the end of the sentence.

    Raises:
        DataError: it cannot be read.
    """
    try:
        yield
    except pa.ArrowMemoryError:
        raise  # the file is not to blame
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{place}: cannot be read: {error}{remedy}") from error
