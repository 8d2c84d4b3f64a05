"""The prepared log of ``tiny_log`` on disk, and FuxiCTR params for its teacher's view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_log import feature_cols, item_histories, log_frame, log_spec

from fuxictr_loopfm.prepared.dataset import PreparedDataset, write_prepared


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedDataset:
    return write_prepared(
        tmp_path / "prepared", log_spec(), log_frame(), {"item_his": item_histories()}
    )


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    """FuxiCTR params of the teacher's view."""
    return {
        "data_root": str(tmp_path / "data"),
        "dataset_id": "tiny_teacher",
        "feature_cols": feature_cols(),
        "label_col": {"name": "click", "dtype": "float"},
        "min_categr_count": 1,
    }
