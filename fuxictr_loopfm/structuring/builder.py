"""Finds each sample's history in a store, by the causal rule: its pointers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.structuring.as_of import bounds_of_codes
from fuxictr_loopfm.structuring.blocks import int64_column

AnyArray = np.ndarray[Any, Any]


def build_pointers(
    store: EventStore,
    sample_key: AnyArray,
    sample_time: NDArray[np.int64],
    spec: SequenceSpec,
) -> Pointers:
    """Each sample's history in the store, by the causal rule.

    Args:
        store: an open store.
        sample_key: (S,) values of the store's key column.
        sample_time: (S,) integers in the store's time unit.
        spec: the rule's parameters in the same unit.

    Raises:
        DataError: keys or times have the wrong type or different lengths.
        CausalityError: the store's events are out of order.
    """
    sample_time = int64_column("sample time", np.asarray(sample_time))
    sample_code = store.key_code(sample_key)
    if len(sample_code) != len(sample_time):
        raise DataError(
            f"samples: expected one time per key, found {len(sample_code)} keys and "
            f"{len(sample_time)} times."
        )
    end, length = bounds_of_codes(
        store.key_ptr - 1,
        store.timestamp[1:],
        sample_code,
        sample_time,
        max_len=spec.max_len,
        delay=spec.delay,
        window=spec.window,
    )
    end_dtype, length_dtype = pointer_dtypes(store.num_events, spec.max_len)
    return Pointers(
        end=np.where(length > 0, end + 1, 0).astype(end_dtype),  # row 0 is the pad row
        length=length.astype(length_dtype),
        spec=spec,
        store_fingerprint=store.manifest.fingerprint,
    )
