"""What a store says of the teacher that its embeddings come from, where there never was one."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.compression.codec import Codec


def store_fields(codec: Codec, **changes: Any) -> dict[str, Any]:
    """The ``manifest_fields`` of ``build_store``.

    Args:
        codec: of the store, with the width of its embeddings.
        changes: entries other than the usual.
    """
    return {
        "dataset_id": "made_up_s1",
        "dataset_fingerprint": "d" * 16,
        "dim": codec.dim,
        "codec": codec.to_dict(),
        "time_unit": "s",
        "key": "user",
        "taps": ["hidden_0"],
        "event_filter": None,
        "backfill": False,
        "provenance": {
            "teacher_fingerprint": "a" * 16,
            "teacher_train_periods": [1],
            "logged_periods": [2, 3],
            "compressor_fingerprint": "b" * 16,
            "compressor_fit_periods": [1],
            "quantizer_fit_periods": [1],
        },
        **changes,
    }
