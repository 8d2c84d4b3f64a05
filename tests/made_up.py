"""What a store says of the teacher that its embeddings come from, where there never was one."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.compression.codec import Codec


def store_fields(codec: Codec | None = None, /, **changes: Any) -> dict[str, Any]:
    """The ``manifest_fields`` of ``build_store``.

    Args:
        codec: of the store, with the width of its embeddings; None if ``changes`` describe it.
        changes: entries other than the usual; those of ``provenance`` are changed one by one.
    """
    provenance = {
        "teacher_fingerprint": "a" * 16,
        "teacher_train_periods": [1],
        "logged_periods": [2, 3],
        "compressor_fingerprint": "b" * 16,
        "compressor_fit_periods": [1],
        "quantizer_fit_periods": [1],
        **changes.pop("provenance", {}),
    }
    return {
        "dataset_id": "made_up_s1",
        "dataset_fingerprint": "d" * 16,
        **({} if codec is None else {"dim": codec.dim, "codec": codec.to_dict()}),
        "time_unit": "s",
        "key": "user",
        "taps": ["hidden_0"],
        "event_filter": None,
        "backfill": False,
        "provenance": provenance,
        **changes,
    }
