"""One run of the whole loop in a process of its own, and the checksums of all it leaves.

python -m tests.torture.same_bits_run '{"root": ..., "prepared": ..., "case": "DeepFM"}'
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fuxictr_loopfm.data import dataloader
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.runs.repeat import weights_digest
from fuxictr_loopfm.runs.vertical import run_vertical
from tests.integration.planted import load, write_configs

DMIN: dict[str, Any] = {
    "model": "DMIN", "dnn_hidden_units": [16, 8], "dnn_activations": "relu",
    "target_field": ["item_id"], "sequence_field": ["item_his"], "neg_seq_field": None,
    "num_heads": 1, "enable_sum_pooling": False, "attention_hidden_units": [8],
    "attention_activation": "relu", "attention_dropout": 0.1, "use_pos_emb": True,
    "pos_emb_dim": 4, "use_behavior_refiner": False, "aux_loss_lambda": 0, "layer_norm": True,
    "legacy_mask": False, "net_dropout": 0.1, "bn_only_once": False,
    "feature_specs": [{"name": ["item_his"], "feature_encoder": None}],
}  # fmt: skip
# Teacher's params, vertical model's params. Dropout draws random numbers at every step.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DeepFM": (
        {"net_dropout": 0.1, "batch_norm": True, "epochs": 1},
        {
            "net_dropout": 0.1,
            "batch_norm": True,
            "loopfm_codec": "int8",
            "shuffle": True,
            "batch_size": 64,
        },
    ),
    "DMIN": (
        DMIN | {"epochs": 1},
        {
            **DMIN,
            "batch_size": 64,
            "loopfm_codec": "int4_kmeans",
            "loopfm_num_shards": 3,
            "loopfm_encoder": "dmin",
            "loopfm_history": "embedding+label+log_age",
        },
    ),
}


@dataclass(frozen=True)
class Asked:
    """One run.

    Attributes:
        root: of its artifacts.
        prepared: the prepared data set.
        case: a name in ``CASES``.
        threads: of torch, in training too.
        workers: processes that extract and structure.
        prefetch: batches that are made ahead; 0 makes each when it is asked for.
        overrides: params of the vertical model.
    """

    root: str
    prepared: str
    case: str
    threads: int = 1
    workers: int = 1
    prefetch: int = 2
    overrides: dict[str, Any] = field(default_factory=dict)


def file_digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below, without locks, by its name there."""
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def run(asked: Asked) -> dict[str, Any]:
    """Run and return checksums: of files, weights and predictions, and the metrics."""
    _prefetch(asked.prefetch)
    root = Path(asked.root)
    teacher, vertical = CASES[asked.case]
    threads = {"loopfm_threads": asked.threads}
    config = write_configs(root / "configs", root, Path(asked.prepared), **teacher, **threads)
    experiment, workspace = load(
        config, "kd_loopfm_label", **{**vertical, **threads, **asked.overrides}
    )
    if asked.workers > 1:
        workspace.extraction_pass.build(workers=asked.workers)
        workspace.structuring("user_id").build(workers=asked.workers)
    record, _, predictions = run_vertical(
        experiment, workspace, model_name=asked.case, command="same_bits"
    )
    teacher_model = TeacherRun(
        workspace.teacher, workspace.keys, workspace.prepared, workspace.artifact_root
    ).ready()  # type: ignore[arg-type]
    return {
        "files": file_digests(root / "data") | file_digests(root / "checkpoints"),
        "weights": record.repeat["weights"],
        "teacher": weights_digest(teacher_model.model),
        "log": record.repeat["log"],
        "predictions": hashlib.sha256(
            np.ascontiguousarray(predictions["y_pred"]).tobytes()
        ).hexdigest(),
        "metrics": {name: repr(value) for name, value in record.metrics.items()},
    }


def _prefetch(depth: int) -> None:
    made_ahead = dataloader.prefetched

    def prefetched(source: Iterator[Any]) -> Iterator[Any]:
        return made_ahead(source, depth) if depth else source

    dataloader.prefetched = prefetched


def threaded_sums() -> dict[str, bool]:
    """Operation -> the bits are the same with one thread and with two."""
    generator = torch.Generator().manual_seed(3)
    large = torch.randn(4_000, 513, generator=generator)
    ids = torch.randint(0, 50, (200_000,), generator=generator)
    weight = torch.randn(513, 257, generator=generator)
    rows = torch.randn(200_000, 16, generator=generator)

    def embedding_gradient() -> torch.Tensor:
        table = torch.zeros(50, 16, requires_grad=True)
        (functional.embedding(ids, table) * rows).sum().backward()
        assert table.grad is not None
        return table.grad

    def layer_norm_gradient() -> torch.Tensor:
        scale = torch.ones(513, requires_grad=True)
        functional.layer_norm(large, (513,), scale).square().mean().backward()
        assert scale.grad is not None
        return scale.grad

    operations = {
        "sum of all": lambda: large.sum(),
        "mean of all": lambda: large.mean(),
        "sum over rows": lambda: large.sum(0),
        "sum over columns": lambda: large.sum(1),
        "matrix product": lambda: large @ weight,
        "product over many rows (a weight's gradient)": lambda: large.T @ large[:, :64],
        "binary cross-entropy": lambda: functional.binary_cross_entropy_with_logits(
            large, (large > 0.3).float()
        ),
        "softmax": lambda: large.softmax(1),
        "batch norm": lambda: functional.batch_norm(large, None, None, training=True),
        "layer norm's gradient": layer_norm_gradient,
        "embedding's gradient": embedding_gradient,
        "norm (gradient clipping)": lambda: large.norm(),
    }
    before = torch.get_num_threads()
    found = {}
    for name, operation in operations.items():
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(operation().detach().clone())
        found[name] = torch.equal(*results)
    torch.set_num_threads(before)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        answer: Any = threaded_sums()
    else:
        answer = run(Asked(**json.loads(sys.argv[1])))
    print("ANSWER " + json.dumps(answer))
