"""How much better one arm is than another, with intervals, as computed from predictions.

Predictions are large and stay where they were made; what was computed from them is one line of
``comparisons.jsonl`` for each pair of arms, sealed like a record. A line names its runs by content,
so it never stands beside numbers of other runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import fingerprint, write_text
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.plain_text import parse_json
from fuxictr_loopfm.files.seals import with_seal
from fuxictr_loopfm.records.record import COMPARISONS, RunRecord

SCHEMA = "loopfm.comparison"
VERSION = 1
FORMAT = Format(
    SCHEMA, VERSION, DataError, "Delete it and run the benchmark again.", unsealed_entries=()
)


@dataclass(frozen=True)
class Comparison:
    """The first arm minus the second, on the same test rows and over the same seeds.

    Attributes:
        first, second: the arms' runs, see ``arm_mark``.
        names: of the two arms, for readers.
        seeds: those of the runs.
        metrics: by metric ``[estimate, low, high]``, the mean difference over the seeds and its
            95% interval over resampled users.
        users, rows: what was evaluated.
        resamples, resampling_seed: how the intervals were made.
    """

    first: str
    second: str
    names: tuple[str, str]
    seeds: tuple[int, ...]
    metrics: Mapping[str, Sequence[float]]
    users: int
    rows: int
    resamples: int
    resampling_seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        value = asdict(self)
        return {**FORMAT.header, **value, "names": list(self.names), "seeds": list(self.seeds)}


def arm_mark(runs: Iterable[RunRecord]) -> str:
    """Fingerprint of an arm: of the whole records of its runs, in whatever order."""
    return fingerprint([run.to_dict() for run in sorted(runs, key=lambda run: run.seed)])


def comparisons_text(comparisons: Iterable[Comparison]) -> str:
    """One sealed line for each comparison."""
    lines = [json.dumps(with_seal(each.to_dict()), sort_keys=True) for each in comparisons]
    return "".join(f"{line}\n" for line in lines)


def write_comparisons(folder: Path, comparisons: Iterable[Comparison]) -> None:
    """Write ``comparisons.jsonl`` into a folder of records."""
    write_text(folder / COMPARISONS, comparisons_text(comparisons))


def read_comparisons(paths: Iterable[Path]) -> list[Comparison]:
    """The comparisons beside records: in folders (searched through) and next to record files.

    Raises:
        DataError: a file is unreadable or was altered.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = path.rglob(COMPARISONS) if path.is_dir() else [path.with_name(COMPARISONS)]
        files.update(dict.fromkeys(file.resolve() for file in sorted(found) if file.is_file()))
    return [each for file in files for each in _read(file)]


def _read(path: Path) -> list[Comparison]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        place = f"{path}, line {number}"
        try:
            value = FORMAT.opened(parse_json(line), place)
            own = {name: value[name] for name in Comparison.__dataclass_fields__}
            own |= {"names": tuple(own["names"]), "seeds": tuple(own["seeds"])}
            found.append(Comparison(**own))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{place}: expected a comparison of two arms, found {error}. {FORMAT.rebuild}"
            ) from error
    return found
