"""Extraction with codes against plain distillation, which logs the teacher's logits alone.

Both are the package's own pass, from the loader to the file; the one with codes also taps a layer,
compresses, writes the embeddings, reads them again and quantises them. The rows that a codec is
fitted on are not in it: they are 200,000 whatever the length of the log, and both log them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fuxictr.features import FeatureMap

from fuxictr_loopfm.compression.autoencoder import AutoencoderSpec, CoTrainer
from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.extraction.extractor import extract
from fuxictr_loopfm.extraction.parts import plan_parts, write_parts
from fuxictr_loopfm.extraction.tap import Tap, TapRecorder, resolve_taps
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from fuxictr_loopfm.store.extraction_reader import ExtractionReader

ROWS, BATCH, MAX_LEN, FIELDS, DIM = 200_000, 2048, 50, 20, 32
# Two batches in a turn, so that what else the machine does meets both sides alike.
TURN = 2 * BATCH
REACH = 1.01
ZOO = Path(__file__).parents[2] / "model_zoo"
AGAINST = "the same pass that logs logits alone"
LOGITS_ONLY = [Tap("soft_label", "")]
# The first is the teacher of the prototype's measurement, the second that of our configurations.
TEACHERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "DMIN, 2 attention layers, 4 heads, MLP 512-256-128, last layer tapped": (
        "deep",
        {"dnn_hidden_units": [512, 256, 128], "num_heads": 4, "use_behavior_refiner": True},
    ),
    "DMIN, 1 attention layer, 1 head, MLP 256-128-64, first layer tapped": (
        "hidden_0",
        {"dnn_hidden_units": [256, 128, 64], "num_heads": 1, "use_behavior_refiner": False},
    ),
}


def measure(scale: float, repetitions: int) -> list[dict[str, Any]]:
    """Ratios of time, by CPU and by the clock, for one tapped layer, d = 32, int4.

    Args:
        scale: 1.0 is 200,000 rows.
        repetitions: passes over them.

    Returns:
        A row per teacher and clock: ``what``, ``against``, ``ratio`` (median of the samples),
        ``reach`` and ``samples``, one per turn of two batches, in which the sides alternate.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = write_table(Path(folder) / "train.parquet", max(int(scale * ROWS), TURN))
            for name, (tap, settings) in TEACHERS.items():
                turns = Turns(Path(folder), tap, settings)
                ratios = [turns.ratios(rows) for _ in range(repetitions)]
                for column, clock in enumerate(("CPU time of the process", "wall clock")):
                    samples = np.concatenate(ratios)[:, column].tolist()
                    found.append(
                        {
                            "what": f"extraction with codes: {name}; {clock}",
                            "against": AGAINST,
                            "ratio": statistics.median(samples),
                            "reach": REACH,
                            "samples": samples,
                        }
                    )
    finally:
        torch.set_num_threads(threads)
    return found


def vocabularies() -> dict[str, int]:
    """Ids of the categorical fields."""
    return {f"field_{index}": 1000 * (index + 1) for index in range(FIELDS)}


def write_table(path: Path, rows: int) -> int:
    """An encoded table whose histories have 0 to 50 events, all lengths as often; returns rows."""
    random = np.random.default_rng(20240)
    columns: dict[str, Any] = {
        name: random.integers(1, size, rows, dtype=np.int32)
        for name, size in vocabularies().items()
    }
    valid = np.arange(MAX_LEN) >= MAX_LEN - random.integers(0, MAX_LEN + 1, (rows, 1))
    items = random.integers(1, 1000 * FIELDS, (rows, MAX_LEN), dtype=np.int32) * valid
    columns["history"] = pa.FixedSizeListArray.from_arrays(pa.array(items.reshape(-1)), MAX_LEN)
    columns["event_id"] = np.arange(rows)
    columns["click"] = random.integers(0, 2, rows).astype(np.float32)
    pq.write_table(pa.table(columns), path)
    return rows


def feature_map() -> FeatureMap:
    """FuxiCTR's description of the table."""
    found = FeatureMap("bench", "unused")
    found.features = OrderedDict(
        (name, {"source": "", "type": "categorical", "vocab_size": size})
        for name, size in vocabularies().items()
    )
    found.features["history"] = {
        "source": "",
        "type": "sequence",
        "vocab_size": 1000 * FIELDS,
        "max_len": MAX_LEN,
        "share_embedding": f"field_{FIELDS - 1}",
        "feature_encoder": None,
    }
    found.features["event_id"] = {"source": "", "type": "meta"}
    found.labels, found.default_emb_dim = ["click"], 16
    history_fields.prepare_feature_map(found, (), False)
    return found


def build_teacher(root: Path, settings: Mapping[str, Any]) -> Any:
    """An untrained DMIN: what it predicts costs the same."""
    params = {
        "model_id": "DMIN",
        "model_root": str(root),
        "gpu": -1,
        "embedding_dim": 16,
        "dnn_activations": "relu",
        "target_field": [f"field_{FIELDS - 1}"],
        "sequence_field": ["history"],
        "attention_hidden_units": [64, 32],
        "batch_norm": False,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "task": "binary_classification",
        "metrics": ["AUC"],
        "verbose": 0,
        **settings,
    }
    torch.manual_seed(0)
    return history_fields.build_model(
        load_model_class("DMIN", [ZOO])[0], feature_map(), params, ()
    )[0]


@dataclass(frozen=True)
class Compression:
    """What turns the tapped layer into codes."""

    taps: list[Tap]
    trainer: CoTrainer
    codec: Codec


class Turns:
    """Both sides of the comparison on one teacher."""

    def __init__(self, folder: Path, tap: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.model = build_teacher(folder, settings)
        taps = resolve_taps(self.model, [tap])
        with TapRecorder(self.model, taps) as recorder, torch.no_grad():
            for batch in self.loader(0, TURN):
                self.model.forward(batch)
            activation = recorder.read()
        trainer = CoTrainer(AutoencoderSpec(activation.shape[1], DIM))
        trainer.step(activation)
        embedding = trainer.autoencoder.encode(activation).detach().numpy()
        self.compression = Compression(taps, trainer, build_codec("int4_kmeans", DIM))
        self.compression.codec.fit(embedding)
        self.timed(0, TURN, self.compression)  # the first pass pays for memory

    def loader(self, first: int, last: int) -> LoopFMDataLoader:
        path = self.folder / "train.parquet"
        return LoopFMDataLoader(
            self.model.feature_map, path, batch_size=BATCH, loopfm_rows=slice(first, last)
        )

    def ratios(self, rows: int) -> np.ndarray:
        """(turns, 2) CPU and wall time with codes, divided by those without."""
        found = []
        for turn, first in enumerate(range(0, rows - TURN + 1, TURN)):
            sides: list[Compression | None] = [None, self.compression]
            order = sides if turn % 2 else sides[::-1]
            times = {side is None: self.timed(first, first + TURN, side) for side in order}
            found.append(np.divide(times[False], times[True]))
        return np.array(found)

    def timed(self, first: int, last: int, codes: Compression | None) -> tuple[float, float]:
        """Seconds of CPU and of the clock for one part of the log."""
        batches = self.loader(first, last)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            cpu, wall = time.process_time(), time.perf_counter()
            taps = LOGITS_ONLY if codes is None else codes.taps
            encode = None if codes is None else codes.trainer.autoencoder.encode
            results = extract(self.model, taps, encode, batches)
            parts = plan_parts({1: last - first}, BATCH)
            records = write_parts(
                Path(folder), parts, results, batch_size=BATCH, compressor="bench"
            )
            dim = 1 if codes is None else DIM
            manifest = ExtractionManifest(dim, [], "bench", "bench", [], [1], tuple(records))
            ExtractionLog.write_manifest(folder, manifest)
            log = ExtractionLog.open(folder)
            if codes is not None:
                with ExtractionReader(Path(folder)) as reader:
                    codes.codec.encode(reader.take(log.event_id)[0])
            return time.process_time() - cpu, time.perf_counter() - wall
