"""What an archive's bytes hold: h5py, parquet, torch and the log itself, nothing of the package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from tests.archives import tiny

FIRST_LOGGED = 2


def digest(values: np.ndarray[Any, Any]) -> str:
    """SHA-256 of an array's values in C order."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def decoded(codes: np.ndarray[Any, Any], codec: dict[str, Any]) -> np.ndarray[Any, Any]:
    """(n, d) float32 embeddings of stored codes, by the definition of each codec."""
    if codec["kind"] == "none":
        return np.zeros(codes.shape, np.float32)
    if codec["kind"] == "int8":
        return codes.astype(np.float32) * np.float32(1.0 / 127.0)
    assert codec["kind"] == "int4_kmeans"
    levels = np.array(codec["centres"], np.float32)
    halves = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    return levels[halves][:, : codec["dim"]]


def raw_store(folder: Path) -> dict[str, Any]:
    """Every shard's rows without pad rows, one after the other, and each event's key."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    parts: list[dict[str, Any]] = []
    for record in manifest["shards"]:
        with h5py.File(folder / record["file"], "r") as file:
            part: dict[str, Any] = {name: file[name][1:] for name in ("src_row", "timestamp")}
            part["logit"], part["codes"] = file["logit"][1:], file["codes"][1:]
            part["label"] = file["side/label"][1:]
            part["key"] = np.repeat(file["key_id"][:], np.diff(file["key_ptr"][:]))
        parts.append(part)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**joined, "decoded": decoded(joined["codes"], manifest["codec"])}


def raw_log(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Event ids, embeddings and logits of all parts of an extraction."""
    parts = []
    for path in sorted(folder.glob("period-*.h5")):
        with h5py.File(path, "r") as file:
            parts.append({name: file[name][:] for name in ("event_id", "embedding", "logit")})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def expected(folder: Path, stores: dict[str, str]) -> dict[str, Any]:
    """Everything a reader is compared with.

    Args:
        folder: the archive.
        stores: folder name of each store.
    """
    rows = tiny.read_csv(folder / tiny.LOG_FILE)
    artifacts = folder / "data" / "artifacts" / "Tiny_s1"
    (extraction,), (teacher,) = artifacts.glob("extraction-*"), artifacts.glob("teacher-*")
    logged = raw_log(extraction)
    assert logged["event_id"].tolist() == [
        number for number, row in enumerate(rows) if row["period"] >= FIRST_LOGGED
    ]
    weights = torch.load(teacher / "teacher.pt", map_location="cpu", weights_only=True)
    found: dict[str, Any] = {
        "rows": len(rows),
        "histories": {name: tiny.histories(rows, name, FIRST_LOGGED) for name in tiny.RULES},
        "item_histories": tiny.item_histories(rows),
        "extraction": {
            "folder": extraction.name,
            "rows": len(logged["event_id"]),
            "embedding": digest(logged["embedding"]),
            "logit": digest(logged["logit"]),
        },
        "teacher": {
            "folder": teacher.name,
            "weights": {name: digest(value.numpy()) for name, value in weights.items()},
        },
        "calibration": digest(np.load(extraction / "calibration.npy")),
        "views": {},
        "decoded": {},
    }
    for name in ("Tiny_s1", "Tiny_teacher_s1"):
        found["views"][name] = {
            path.stem: {
                column: digest(values.to_numpy())
                for column, values in pd.read_parquet(path).items()
                if values.dtype.kind in "if"
            }
            for path in sorted((folder / "data" / name).glob("*.parquet"))
        }
    for name, store in stores.items():
        raw = raw_store(artifacts / store)
        check_rows(rows, raw, "account" if name == "int_keys" else "user_id")
        found["decoded"][name] = {"rows": len(raw["src_row"]), "sha256": digest(raw["decoded"])}
    records = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
    lines = (folder / "records" / "records.jsonl").read_text().splitlines()
    header = json.loads(lines[0])["shared"]
    for line in map(json.loads, lines[1:]):
        records.append({**header, **line, "metrics": {**header["metrics"], **line["metrics"]}})
    found["metrics"] = {record["expid"]: record["metrics"] for record in records}
    return found


def check_rows(rows: list[dict[str, Any]], raw: dict[str, Any], key: str) -> None:
    """Every logged event is in the store once, beside its own time, label and key."""
    logged = [number for number, row in enumerate(rows) if row["period"] >= FIRST_LOGGED]
    assert sorted(raw["src_row"].tolist()) == logged
    for number, time, label, found in zip(
        raw["src_row"], raw["timestamp"], raw["label"], raw["key"], strict=True
    ):
        row = rows[number]
        own = row[key].encode() if isinstance(row[key], str) else row[key]
        assert (row["timestamp"], row["click"], own) == (time, label, found)
