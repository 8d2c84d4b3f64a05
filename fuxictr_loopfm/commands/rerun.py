"""``loopfm rerun``: a run again from its record alone, compared to the last bit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fuxictr_loopfm.commands.options import add_gpu, add_zoo
from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import ConfigError, LoopFMError
from fuxictr_loopfm.evidence.tables import aligned

if TYPE_CHECKING:
    from fuxictr_loopfm.records.record import RunRecord
    from fuxictr_loopfm.runs.rerun import Compared

SUMMARY = "Run a record again, from the record alone, and compare to the last bit."
EXAMPLE = "loopfm rerun runs/MovieLens100K_s1/records/DeepFM_MovieLens100K_s1_kd-seed2019.json"
_SHOWN = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which record, and what to run it with."""
    parser.add_argument("record", type=user_path, help="record (.json); records (.jsonl, folder)")
    parser.add_argument("--expid", help="of several records, that of this experiment")
    parser.add_argument("--seed", type=int, help="of several records, that of this seed")
    parser.add_argument("--method", help="of several records, that of this method")
    parser.add_argument("--data", type=user_path, help="raw folder or a prepared one (data/)")
    parser.add_argument(
        "--data-root", type=user_path, help="where artifacts are reused and built (default: data/)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="reuse nothing: teacher, log and store are made anew"
    )
    add_zoo(parser)
    add_gpu(parser)
    parser.add_argument("--out", type=user_path, help="also write the new record there")


def run(options: argparse.Namespace) -> None:
    """Run a record again and print what was recorded beside what was found.

    Raises:
        LoopFMError: a value differs; or see ``rerun.rerun``.
    """
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.records.record import read_records, write_record
    from fuxictr_loopfm.runs.rerun import Places, code_differs, compared, differences, rerun

    record = chosen(read_records([options.record]), options)
    places = Places(
        Checkout.find_if_any() or Checkout(Path.cwd()),
        options.data,
        options.data_root,
        options.zoo,
        options.gpu,
        options.fresh,
    )
    print(f"{record.expid}, seed {record.seed}: {record.model}, {record.method}, {record.started}")
    found = rerun(record, places)
    if options.out is not None:
        print(f"record: {write_record(options.out, found)}")
    notes = differences(record, places)
    other_code = code_differs(record, found)
    for note in [*([other_code] if other_code else []), *notes]:
        print(f"not the same here: {note}")
    rows = compared(record, found)
    print(table(rows))
    unequal = [row.name for row in rows if not row.equal]
    if unequal:
        cause = (
            "The lines above name what is not the same here."
            if notes or other_code
            else "Code, versions and processor are the same; docs/guarantees.md says what is "
            "guaranteed where."
        )
        raise LoopFMError(
            f"{options.record}: {record.expid}: {len(unequal)} of {len(rows)} values differ: "
            f"{', '.join(unequal)}. {cause}"
        )
    print("equal to the last bit")


def chosen(records: list[RunRecord], options: argparse.Namespace) -> RunRecord:
    """The one record that the options leave.

    Raises:
        ConfigError: they leave none or several.
    """
    left = [
        record
        for record in records
        if options.expid in (None, record.expid)
        and options.seed in (None, record.seed)
        and options.method in (None, record.method)
    ]
    if len(left) == 1:
        return left[0]
    known = [f"--expid {r.expid} --seed {r.seed} ({r.method})" for r in left or records]
    more = [f"and {len(known) - _SHOWN} more"] if len(known) > _SHOWN else []
    raise ConfigError(
        f"{options.record}: expected one record for --expid {options.expid} --seed {options.seed} "
        f"--method {options.method}, found {len(left)}; there are\n  "
        + "\n  ".join([*known[:_SHOWN], *more])
    )


def table(rows: list[Compared]) -> str:
    """The values side by side."""
    heads = ("value", "recorded", "found", "equal")
    lines = [heads, *((r.name, r.recorded, r.found, "yes" if r.equal else "NO") for r in rows)]
    return "\n".join(aligned(lines, [True] * len(heads)))
