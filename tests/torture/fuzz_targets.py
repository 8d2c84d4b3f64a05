"""What is fuzzed: every reader of files that somebody else may have written."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import custom
import numpy as np
import yaml
from hypothesis import strategies as st

from fuxictr_loopfm.compression.autoencoder import AutoencoderSpec, CoTrainer
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import load_params, read_yaml
from fuxictr_loopfm.data.encode import build_view
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.files.atomic import sha256_file
from fuxictr_loopfm.files.seals import with_seal, without_seal
from fuxictr_loopfm.host.model import read_feature_map
from fuxictr_loopfm.prepared.columns_io import read_sequence
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.packing import packed
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.describe import describe_store
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.schema import manifest_fingerprint
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.integration.planted import DEEPFM_ZOO, write_configs, write_log
from tests.made_up import run_record
from tests.torture.fuzz_edits import changed_bytes, changed_tree, nasty
from tests.torture.hostile_h5 import reseal
from tests.torture.hostile_tables import HEADER, SPEC, START, rows
from tests.torture.specimens import small_extraction, small_store

Trial = tuple[Callable[[], object], str]


@dataclass(frozen=True)
class Target:
    """A reader, and how an input for it is drawn and written: (what reads it, what it is)."""

    name: str
    try_one: Callable[[st.DataObject], Trial]


def targets(folder: Path) -> list[Target]:
    """All targets; their valid inputs are made below ``folder``."""
    prepared = folder / "prepared"
    write_log(prepared)
    configs = write_configs(folder / "configs", folder, prepared)
    return [
        *_configurations(folder, configs),
        *_prepared(prepared),
        *_encoded(configs),
        *_store(folder),
        *_extraction(folder / "extraction"),
        *_pointers(folder),
        *_records(folder),
        _compressor(folder / "compressor.pt"),
        *_custom(folder / "custom"),
    ]


def _bytes_of(name: str, path: Path, read: Callable[[], object], after: Any = None) -> Target:
    """Bytes of a file changed; ``after`` makes other files fit it."""
    good = path.read_bytes()

    def try_one(draw: st.DataObject) -> Trial:
        content, what = changed_bytes(draw, good)
        path.write_bytes(content)
        if after is not None:
            after()
        return read, what

    return Target(f"{name}, bytes", try_one)


def _tree_of(
    name: str,
    path: Path,
    read: Callable[[], object],
    write: Callable[[Any], str],
    parse: Callable[[str], Any] = json.loads,
) -> Target:
    """Values of a JSON or YAML file changed; ``write`` seals it again."""
    good = parse(path.read_text(encoding="utf-8"))

    def try_one(draw: st.DataObject) -> Trial:
        tree, what = changed_tree(draw, good)
        if draw.draw(st.booleans()) and isinstance(tree, dict):
            what += "; sealed again"
            text = write(tree)
        else:
            text = json.dumps(tree)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return read, what

    return Target(f"{name}, values", try_one)


def _resealed(tree: Any) -> str:
    return json.dumps(with_seal(without_seal({str(key): tree[key] for key in tree})))


def _configurations(folder: Path, configs: Path) -> list[Target]:
    tokens = st.sampled_from(
        ["a", ":", " ", "\n", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "<<", "!!", "!", "? ",
         "|", ">", "'", '"', "#", "%", "@", "1", "-", ".", "e", "~", "\t", "---\n", "...",
         "!!python/tuple ", "!!int ", "!!binary ", "!!set ", "!!omap ", "!!timestamp ", "0x",
         "2024-13-41", "\\x", "é"]
    )  # fmt: skip
    any_path = folder / "any.yaml"

    def yaml_text(draw: st.DataObject) -> Trial:
        text = "".join(draw.draw(st.lists(tokens, max_size=40)))
        any_path.write_text(text, encoding="utf-8")
        return lambda: read_yaml(any_path), text

    found = [Target("YAML of random tokens", yaml_text)]
    for name in ("model_config.yaml", "dataset_config.yaml"):
        own = folder / f"fuzz-{name}"
        shutil.copytree(configs, own)

        def load(own: Path = own) -> object:
            load_params(own, "base", own)
            return Experiment.load(own, "KD", base_dir=own, zoo=DEEPFM_ZOO)

        found.append(_bytes_of(name, own / name, load))
        found.append(_tree_of(name, own / name, load, yaml.safe_dump, yaml.safe_load))
    return found


def _prepared(prepared: Path) -> list[Target]:
    path = prepared / "dataset.yaml"
    sequences = prepared / "sequences.h5"

    def read() -> object:
        return PreparedDataset.load(prepared).describe()

    def sealed(tree: Any) -> str:
        return yaml.safe_dump(json.loads(_resealed(tree)), sort_keys=False)

    good = path.read_bytes(), sequences.read_bytes()
    found = [
        _bytes_of("dataset.yaml", path, read),
        _tree_of("dataset.yaml", path, read, sealed, yaml.safe_load),
        _bytes_of("sequences.h5", sequences, lambda: read_sequence(sequences, "item_his")),
    ]
    path.write_bytes(good[0])
    return found


def _encoded(configs: Path) -> list[Target]:
    experiment = Experiment.load(configs, "base", base_dir=configs, zoo=DEEPFM_ZOO)
    prepared = PreparedDataset.load(str(experiment.keys.prepared))
    folder = build_view(prepared, experiment.params, "vertical").folder
    path = folder / "encoded.json"

    def read() -> object:
        view = EncodedView.open(folder)
        view.rows("train"), view.labels, view.params, view.fingerprint
        return [view.sequence(entry["name"]) for entry in view.manifest["sequences"]]

    dataset_id = {"dataset_id": experiment.params["dataset_id"]}
    feature_map = folder / "feature_map.json"
    return [
        _bytes_of("encoded.json", path, read),
        _tree_of("encoded.json", path, read, _resealed),
        _tree_of(
            "feature_map.json", feature_map, lambda: read_feature_map(feature_map, dataset_id),
            json.dumps,
        ),
    ]  # fmt: skip


def _store(folder: Path) -> list[Target]:
    found = []
    for name in ("shard", "manifest"):
        small_store(folder / f"store-{name}")
    own = folder / "store-manifest"

    def sealed(tree: Any) -> str:
        return json.dumps({**tree, "fingerprint": manifest_fingerprint(tree)})

    path = own / "manifest.json"
    found.append(_bytes_of("store manifest", path, lambda: describe_store(own)))
    found.append(_tree_of("store manifest", path, lambda: describe_store(own), sealed))
    other = folder / "store-shard"
    shard, manifest = other / "shard-00000.h5", other / "manifest.json"
    good = manifest.read_bytes()

    def fit() -> None:
        manifest.write_bytes(good)
        reseal(other, touch=False)

    found.append(_bytes_of("store shard", shard, lambda: describe_store(other), fit))
    return found


def _extraction(folder: Path) -> list[Target]:
    small_extraction(folder)
    path, part = folder / "manifest.json", folder / "period-0.h5"

    def read() -> object:
        ExtractionLog.finished_part(folder, "period-0", {})
        return ExtractionLog.open(folder).embedding

    def fit() -> None:
        plain = without_seal(json.loads(good))
        plain["parts"][0].update(bytes=part.stat().st_size, sha256=sha256_file(part))
        path.write_text(_resealed(plain))

    good = path.read_text()
    return [
        _bytes_of("extraction manifest", path, read),
        _tree_of("extraction manifest", path, read, _resealed),
        _tree_of("part record", folder / "period-0.json", read, _resealed),
        _bytes_of("extraction part", part, read, fit),
    ]


def _pointers(folder: Path) -> list[Target]:
    small_store(folder / "store-pointers")
    store = EventStore.open(folder / "store-pointers")
    spec = SequenceSpec(max_len=5)
    path = folder / "pointers.h5"
    build_pointers(store, np.arange(6), np.full(6, 50), spec).save(path)
    for record in (path.with_suffix(".json"),):
        record.unlink(missing_ok=True)  # as those of earlier releases, which have none
    manifest = read_manifest(store.folder)
    return [_bytes_of("pointers", path, lambda: Pointers.load(path, store=manifest, spec=spec))]


def _records(folder: Path) -> list[Target]:
    one = run_record(config={"a": {"b": [1]}}).to_dict()
    single, many = folder / "a-seed1.json", folder / "all.jsonl"
    single.write_text(json.dumps(one))
    many.write_text(packed([one, {**one, "seed": 2}]))
    return [
        _bytes_of("record", single, lambda: read_records([single])),
        _tree_of("record", single, lambda: read_records([single]), _resealed),
        _bytes_of("packed records", many, lambda: read_records([many])),
    ]


def _compressor(path: Path) -> Target:
    CoTrainer(AutoencoderSpec(6, 3, 4, (), (1,))).save(path)
    return _bytes_of("compressor", path, lambda: CoTrainer.load(path))


def _custom(folder: Path) -> list[Target]:
    folder.mkdir()
    log, spec = folder / "log.csv", folder / "spec.yaml"
    good = f"{HEADER}\n{rows()}"
    log.write_text(good)
    options = argparse.Namespace(spec=spec, out=folder / "out", drop_last_period=False)

    def read() -> object:
        try:
            return custom.main(options)
        finally:
            shutil.rmtree(options.out, ignore_errors=True)

    pieces = st.one_of(
        st.sampled_from([",", "\n", '"', "\r", "\r\n", ";", "\t", "0", "1", "", " ", "NA", "nan",
                         "inf", "-1", "1e400", "9" * 30, str(START), "true", "\0", "\ufeff", "é"]),
        st.text(max_size=4),
    )  # fmt: skip

    def csv_text(draw: st.DataObject) -> Trial:
        spec.write_text(yaml.safe_dump(SPEC))
        lines = good.split("\n")
        for _ in range(draw.draw(st.integers(1, 5))):
            row = draw.draw(st.integers(0, len(lines) - 1))
            fields = lines[row].split(",")
            fields[draw.draw(st.integers(0, len(fields) - 1))] = draw.draw(pieces)
            lines[row] = ",".join(fields)
        text = "\n".join(lines)
        log.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        return read, text

    whole = {
        **SPEC, "keep": [{"column": "extra", "one_of": ["x"]}], "buckets": {"item": [1, 2]},
        "history": {"name": "his", "max_len": 3}, "rename": {"extra": "more"}, "numeric": [],
        "side_columns": ["more"], "duplicates": "drop", "teacher_only": [],
    }  # fmt: skip
    del whole["buckets"], whole["keep"]

    def spec_values(draw: st.DataObject) -> Trial:
        log.write_text(good)
        tree, what = changed_tree(
            draw, {**whole, draw.draw(st.sampled_from(EXTRA)): draw.draw(nasty)}
        )
        spec.write_text(yaml.safe_dump(tree), encoding="utf-8", errors="surrogatepass")
        return read, what

    return [
        Target("CSV text", csv_text),
        Target("custom spec, values", spec_values),
        _bytes_of("CSV", log, read, lambda: spec.write_text(yaml.safe_dump(SPEC))),
    ]


EXTRA = ("keep", "buckets", "item_columns", "source", "time", "label", "periods", "history", "log")
