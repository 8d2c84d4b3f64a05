"""Transfer ratios between rows of a table, from the test predictions kept beside the records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.analysis.resampling import Estimate
from fuxictr_loopfm.analysis.transfer_ratio import TransferRatio, transfer_ratio
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.runner import predictions_path
from fuxictr_loopfm.evidence.paper.table import PaperTable, RatioPair
from fuxictr_loopfm.records.record import RunRecord

RATIO_HEADINGS = ("Model", "Pair", "Kind", "dNE of the teacher", "dNE of the model", "Ratio")
RATIO_EXPLANATION = (
    "Transfer ratio: gain in NE of the vertical model over that of its teacher, on the same test "
    "rows, with 95% bootstrap intervals over users; losses are averaged over the seeds, whose "
    "variation the intervals do not contain. A ratio of an initial launch is no fraction of the "
    "teacher's gain. Refused where the teacher's own gain is not different from 0."
)


_ESTIMATES = ("dNE_FM", "dNE_VM", "ratio")


@dataclass(frozen=True)
class PairResult:
    """A pair's ratio for one vertical model, or why there is none.

    Attributes:
        seeds: that both of its rows have.
        refused: empty if there is a ratio.
    """

    model: str
    pair: RatioPair
    seeds: tuple[int, ...]
    ratio: TransferRatio | None
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        value = asdict(self)
        for name in _ESTIMATES:
            if self.ratio is not None:
                value["ratio"][name] = getattr(self.ratio, name)._asdict()
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PairResult:
        """Read what ``to_dict`` made; KeyError or TypeError for something else."""
        ratio = None
        if value["ratio"] is not None:
            parts = {item.name: value["ratio"][item.name] for item in fields(TransferRatio)}
            parts |= {name: Estimate(**parts[name]) for name in _ESTIMATES}
            ratio = TransferRatio(**parts)
        pair, seeds = RatioPair(**value["pair"]), tuple(value["seeds"])
        return cls(value["model"], pair, seeds, ratio, value["refused"])

    def cells(self) -> list[str]:
        """The texts under ``RATIO_HEADINGS``."""
        start = [self.model, self.pair.name, self.pair.kind]
        if self.ratio is None:
            return [*start, "-", "-", "refused"]
        gains = (_text(self.ratio.dNE_FM, "+.5f"), _text(self.ratio.dNE_VM, "+.5f"))
        return [*start, *gains, _text(self.ratio.ratio, ".3f")]


def ratios_text(results: Sequence[PairResult]) -> str:
    """The JSON file of transfer ratios."""
    return json.dumps([result.to_dict() for result in results], indent=2, sort_keys=True) + "\n"


def read_ratios(text: str) -> list[PairResult]:
    """What ``ratios_text`` made.

    Raises:
        DataError: it is something else.
    """
    try:
        return [PairResult.from_dict(value) for value in json.loads(text)]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            "transfer ratios: expected the JSON that `loopfm publish` wrote, found "
            f"{type(error).__name__}: {error}; publish the table's results folder again"
        ) from error


def joined_ratios(old: str, new: str) -> str:
    """The JSON text of both, of ``new`` alone for the models that it has."""
    results = read_ratios(new)
    models = {result.model for result in results}
    return ratios_text([r for r in read_ratios(old) if r.model not in models] + results)


def pair_results(table: PaperTable, records: Sequence[RunRecord], folder: Path) -> list[PairResult]:
    """All pairs of a table for every vertical model among the records.

    Args:
        folder: of the predictions, see ``runner.predictions_path``.
    """
    runs: dict[str, dict[str, dict[int, RunRecord]]] = {}
    for record in records:
        runs.setdefault(record.model, {}).setdefault(record.method, {})[record.seed] = record
    return [
        _result(model, pair, by_row, folder)
        for model, by_row in runs.items()
        for pair in table.transfer_ratio
    ]


def refusals(results: Sequence[PairResult]) -> list[str]:
    """Every reason for which there is no ratio, once, with the pairs it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.refused:
            reasons.setdefault((result.model, result.refused), []).append(result.pair.name)
    return [
        f"Refused for {model} ({'; '.join(names)}): {reason}."
        for (model, reason), names in reasons.items()
    ]


def _result(
    model: str, pair: RatioPair, runs: Mapping[str, Mapping[int, RunRecord]], folder: Path
) -> PairResult:
    first, last = runs.get(pair.start, {}), runs.get(pair.end, {})
    seeds = tuple(sorted(set(first) & set(last)))
    teachers = runs.get(pair.start_teacher or pair.start, {})
    if not seeds or not teachers:
        return PairResult(model, pair, seeds, None, "its rows have not been run")
    try:
        vm1 = [_predictions(first[seed], folder) for seed in seeds]
        vm2 = [_predictions(last[seed], folder) for seed in seeds]
        fm1 = _predictions(next(iter(teachers.values())), folder)
        same = vm1[0]
        for other in (*vm1, *vm2, fm1):
            if not all(np.array_equal(other[name], same[name]) for name in ("y", "user")):
                raise DataError("the rows were tested on different events")
        ratio = transfer_ratio(
            pair.kind,
            same["y"],
            (_of_teacher(fm1), _of_teacher(vm2[0])),
            (np.stack([one["p"] for one in vm1]), np.stack([one["p"] for one in vm2])),
            same["user"],
        )
    except DataError as error:
        return PairResult(model, pair, seeds, None, str(error))
    return PairResult(model, pair, seeds, ratio)


def _predictions(record: RunRecord, folder: Path) -> dict[str, NDArray[Any]]:
    path = predictions_path(folder, record)
    if not path.is_file():
        raise DataError(f"{path.name}: the predictions were not kept; run the table again")
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _of_teacher(predictions: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if "p_teacher" not in predictions:
        raise DataError("a row without a teacher cannot give FM1 or FM2; name start_teacher")
    return predictions["p_teacher"]


def _text(estimate: Estimate, form: str) -> str:
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"
