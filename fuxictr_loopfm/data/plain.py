"""FuxiCTR data sets without a prepared log (protocol ``bars``): csv or parquet files per split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from fuxictr_loopfm.data.artifact import (
    FEATURE_MAP_FILE,
    encoded_folder,
    is_shown,
    publishing,
    reusable_manifest,
    show_newest,
)
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.data.plain_files import PlainFiles
from fuxictr_loopfm.data.plain_labels import binary_labels, require_labels
from fuxictr_loopfm.data.pretrained import pretrained_errors, pretrained_identity
from fuxictr_loopfm.data.processor import LocalProcessor, data_errors
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.files.atomic import fingerprint, locked
from fuxictr_loopfm.files.seals import file_sha256

_ENCODING_VERSION = 2  # 2: ids are exact, list items are tokens, labels are looked at
VIEW = "plain"
_SPLITS = ("train", "valid", "test")
_FORMATS = ("csv", "parquet")
_logger = logging.getLogger(__name__)


class PlainPaths(NamedTuple):
    """Encoded files of a plain data set; None for a split that was not given."""

    train: str
    valid: str | None
    test: str | None
    feature_map: str


def build_plain(params: Mapping[str, Any]) -> PlainPaths:
    """Do what FuxiCTR's ``build_dataset`` does, with the same ids, without Ray.

    Vocabularies and scalers are fitted on the training file, meta vocabularies on all files. The
    result is reused only for the same contents of the files, columns and ``min_categr_count``.

    Args:
        params: FuxiCTR params: ``data_root``, ``dataset_id``, ``train_data``, optional
            ``valid_data`` and ``test_data``, ``data_format`` (csv or parquet), ``feature_cols``,
            ``label_col``, ``min_categr_count``, ``task``.

    Raises:
        ConfigError: settings that FuxiCTR cannot honour either, or contradictory ones.
        DataError: missing files, values that do not fit the columns' types, missing labels, or
            other labels than 0 and 1 for binary classification.
    """
    plan = ColumnPlan.from_params(params)
    data_format = str(params.get("data_format", "csv"))
    _check_settings(params, plan, data_format)
    sources = {
        split: _source_files(params[f"{split}_data"], data_format)
        for split in _SPLITS
        if params.get(f"{split}_data")
    }
    identity = _identity(params, plan, sources)
    folder = encoded_folder(params, fingerprint(identity))
    with locked(folder):
        if reusable_manifest(folder, fingerprint(identity)) is None:
            manifest = {"view": VIEW, "fingerprint": fingerprint(identity), "params": identity}
            with publishing(folder, manifest) as staging:
                _encode(plan, params, sources, data_format, staging)
        show_newest(folder)
    valid, test = (
        str(folder / f"{split}.parquet") if split in sources else None for split in _SPLITS[1:]
    )
    return PlainPaths(str(folder / "train.parquet"), valid, test, str(folder / FEATURE_MAP_FILE))


def _identity(
    params: Mapping[str, Any], plan: ColumnPlan, sources: Mapping[str, list[Path]]
) -> dict[str, Any]:
    """Everything that determines the encoded files."""
    return {
        "encoding_version": _ENCODING_VERSION,
        "sources": {split: [_stamp(path) for path in sources[split]] for split in sources},
        **pretrained_identity(plan.encoded),
        "data_format": params.get("data_format", "csv"),
        "feature_cols": plan.encoded,
        "label_col": plan.labels,
        "binary_labels": binary_labels(params, plan),
        "min_categr_count": params.get("min_categr_count", 1),
    }


def _check_settings(params: Mapping[str, Any], plan: ColumnPlan, data_format: str) -> None:
    where = str(params.get("dataset_id"))
    problems = []
    if data_format not in _FORMATS:
        problems.append(f"data_format: expected one of {_FORMATS}, found {data_format!r}")
    if not params.get("train_data"):
        problems.append(f"train_data: expected a path, found {params.get('train_data')!r}")
    for name in ("valid_size", "test_size"):
        if params.get(name):
            problems.append(
                f"{name}: expected 0, found {params[name]}; FuxiCTR 2.3.10 cannot split files. "
                "Give valid_data and test_data"
            )
    if params.get("rebuild_dataset", True) is not True:
        problems.append("rebuild_dataset: expected true; encoded data is reused by itself")
    if plan.histories:
        names = [entry["name"] for entry in plan.histories]
        problems.append(f"feature_cols: {names}: a history needs a prepared data set")
    if problems:
        raise ConfigError(
            [f"{where}: {problem}" for problem in problems],
            "Change its entry in the configuration.",
        )


def _source_files(path: str, data_format: str) -> list[Path]:
    """The file, or the files of that format in a folder, in name order as FuxiCTR reads them."""
    source = Path(path)
    files = [source]
    if source.is_dir():
        found = sorted(source.glob(f"*.{data_format}"))
        files = [path for path in found if not is_shown(path)]
    if not files or not files[0].is_file():
        raise DataError(
            f"{path}: expected a {data_format} file or a folder of them, found none. "
            "Check the path in dataset_config.yaml."
        )
    return files


def content_of(path: str, data_format: str) -> str:
    """SHA-256 of a split's file, or a fingerprint of the files of its folder.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    digests = [_stamp(file) for file in _source_files(path, data_format)]
    return digests[0] if len(digests) == 1 else fingerprint(digests)


def _stamp(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _encode(
    plan: ColumnPlan,
    params: Mapping[str, Any],
    sources: Mapping[str, list[Path]],
    data_format: str,
    staging: Path,
) -> None:
    _logger.info("Encode %s", params["dataset_id"])
    first = [str(files[0]) for files in sources.values()]
    with data_errors(f"{params['dataset_id']}: {', '.join(first)}"):
        files = PlainFiles(plan, sources, data_format)
        require_labels(files.files, plan, binary_labels(params, plan))
        processor = LocalProcessor(files.plan, str(params["dataset_id"]), staging)
        tables = {split: processor.preprocess(files.table(split)) for split in sources}
        meta = [column["name"] for column in plan.encoded if column["type"] == "meta"]
        every = pl.concat([table.select(meta) for table in tables.values()]) if meta else None
        with pretrained_errors(plan.encoded):
            processor.fit(
                tables["train"], meta_ddf=every, min_categr_count=params.get("min_categr_count", 1)
            )
        for split, table in tables.items():
            processor.write(table, staging / f"{split}.parquet")
