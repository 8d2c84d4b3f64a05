"""What FuxiCTR itself makes of csv files: its feature processor, run without its Ray step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fuxictr.preprocess import FeatureProcessor
from fuxictr.preprocess.build_dataset import merge_meta_ddf


def fuxictr_build(
    params: Mapping[str, Any], files: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """(feature_map.json, feature_vocab.json, columns by split) for files with a ``train``."""
    processor = FeatureProcessor(**params)
    tables = {s: processor.preprocess(processor.read_data(str(p))) for s, p in files.items()}
    meta = merge_meta_ddf(processor, *tables.values())
    processor.fit(
        tables["train"], meta_ddf=meta, min_categr_count=params.get("min_categr_count", 1)
    )
    columns = {}
    for split, table in tables.items():
        frame = table.collect()
        batch = {name: frame[name].to_numpy(writable=True) for name in frame.columns}
        columns[split] = {k: np.asarray(v) for k, v in processor.transform(batch).items()}
    read = [json.loads(Path(p).read_text()) for p in (processor.json_file, processor.vocab_file)]
    return read[0], read[1], columns
