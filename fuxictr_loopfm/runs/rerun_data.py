"""The data of a recorded run, found where a checkout keeps them or where the user says."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import sha256_file
from fuxictr_loopfm.pipeline.preparation import prepare, whole_id
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord


def prepared_data(record: RunRecord, checkout: Checkout, data: Path | None) -> PreparedDataset:
    """The prepared data set of a record, unaltered.

    Args:
        record: of a run on a prepared data set.
        checkout: where it is looked for without ``data``.
        data: raw files to prepare it from, or a prepared data set.
    Raises:
        DataError: it is missing, or it is not the one of the record.
    """
    prepared = _found(record, checkout, data)
    expected = record.fingerprints["data"]
    if prepared.fingerprint != expected:
        raise DataError(
            f"{prepared.folder}: data: expected fingerprint {expected} (record {record.expid}), "
            f"found {prepared.fingerprint}: another log, or prepared by another release. "
            f"{_remedy(record)}"
        )
    prepared.verify()
    return prepared


def _found(record: RunRecord, checkout: Checkout, data: Path | None) -> PreparedDataset:
    dataset_id = record.dataset_id
    if data is not None and not (data / "dataset.yaml").is_file():
        whole = whole_id(dataset_id)
        return prepare(checkout, whole, data, drop_last_period=whole != dataset_id)
    if data is not None:
        return prepare(checkout, dataset_id, data)
    folder = checkout.prepared(dataset_id)
    if not (folder / "dataset.yaml").is_file():
        raise DataError(
            f"{folder}: expected the prepared data set of record {record.expid}, found none. "
            f"{_remedy(record)}"
        )
    # The link leads to the state that was asked for last; the record may be of another one.
    for place in (folder, *sorted(folder.parent.glob(f"{dataset_id}-*"))):
        with suppress(DataError):
            prepared = PreparedDataset.load(place)
            if prepared.fingerprint == record.fingerprints["data"]:
                return prepared
    return PreparedDataset.load(folder)


def _remedy(record: RunRecord) -> str:
    origin = record.repeat["origin"]
    script = f", prepared by data_prep/{origin['script']}" if origin.get("script") else ""
    return (
        f"The data are {origin.get('source')}{script}: give their folder, raw or prepared, as "
        "--data."
    )


def plain_files(record: RunRecord, checkout: Checkout, data: Path | None) -> dict[str, Path]:
    """The train, valid and test files of a run without a prepared data set, by their SHA-256.

    Raises:
        DataError: one is in neither the folder nor one below it.
    """
    folder = data or checkout.data_root / "raw" / record.dataset_id
    found: dict[str, Path] = {}
    for name, noted in record.repeat["origin"].items():
        for path in sorted(folder.rglob(Path(noted["file"]).name)):
            if path.is_file() and sha256_file(path) == noted["sha256"]:
                found[name] = path.resolve()
                break
        else:
            raise DataError(
                f"{folder}: {name}: expected a file {noted['file']} with sha256 "
                f"{noted['sha256']}, found none. Give the folder that holds it as --data."
            )
    return found
