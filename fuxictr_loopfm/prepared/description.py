"""``dataset.yaml`` on disk: the description of a prepared data set, sealed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.files.plain_text import load_yaml
from fuxictr_loopfm.files.seals import file_record, with_seal
from fuxictr_loopfm.prepared.columns_io import SPEC_FILE
from fuxictr_loopfm.prepared.spec import FORMAT, DatasetSpec

_BLOCKS = "blocks"


def write_spec(folder: Path, spec: DatasetSpec, rows: int) -> DatasetSpec:
    """Write ``dataset.yaml`` with the number of rows and the checksums of the other files."""
    records = {path.name: file_record(path) for path in sorted(folder.iterdir())}
    files = {name: record["sha256"] for name, record in records.items()}
    spec = replace(spec, rows=rows, files=files)
    blocks = {name: record["blocks"] for name, record in records.items()}
    plain = with_seal({**spec.to_dict(), _BLOCKS: blocks})
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    (folder / SPEC_FILE).write_text(text, encoding="utf-8")
    return spec


def read_spec(folder: Path) -> tuple[DatasetSpec, dict[str, str]]:
    """What ``dataset.yaml`` says, and the blocks of its files (see ``sealed``), if it has them.

    Raises:
        DataError: it is missing, unreadable, altered or not valid.
    """
    path = folder / SPEC_FILE
    try:
        plain = FORMAT.unsealed(load_yaml(path))
        # Releases before seals wrote no blocks, and the spec refuses entries it does not know.
        blocks = plain.pop(_BLOCKS, {})
        return DatasetSpec.from_dict(plain), blocks
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a folder written by a script "
            "of data_prep/"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: is no valid YAML: {error}") from error
    except ConfigError as error:
        raise DataError(f"{path}: " + "; ".join(error.problems)) from error
