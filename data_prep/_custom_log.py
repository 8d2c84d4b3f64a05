"""The rows of the log that a spec asks for: read, kept, with their keys, once each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _custom_keep import keep_rows
from _custom_spec import NO_HISTORY, CustomSpec
from _raw_log import RawLog
from _values import is_text

from fuxictr_loopfm.errors import DataError

# Spellings of "no value" in exports, in lower case. Users of such a name would all be one user.
_NOTHING = ("null", "nan", "none", "na", "n/a", "<na>", "\\n", "undefined")


def read_log(spec: CustomSpec) -> RawLog:
    """The used columns, renamed; filtered by ``keep``; missing keys and duplicates as asked.

    Raises:
        DataError: a file cannot be read, no row is left, or rows are refused.
    """
    original = {new: old for old, new in spec.rename.items()}
    wanted = [original.get(name, name) for name in spec.used_columns]
    paths = [Path(path) for path in spec.log]
    missing_values = spec.missing_values or ()
    log = RawLog.read(paths, wanted, spec.used_columns, missing_values, spec.quoting)
    log = keep_rows(log, spec.keep)
    log = _with_keys(spec, log)
    if not len(log):
        kept = " after keep" * bool(spec.keep)
        raise DataError(f"log: no rows in {', '.join(spec.log)}{kept}: expected at least one")
    return log if spec.duplicates == "keep" else _without_copies(log, spec.duplicates == "drop")


def _with_keys(spec: CustomSpec, log: RawLog) -> RawLog:
    """Drop rows without user, item, time, label or group as the spec says, or refuse them."""
    roles = {"user": spec.user, "item": spec.item, "time": spec.time.column}
    roles |= {"label": spec.label.column} | ({"group": spec.group} if spec.group else {})
    problems, keep = [], np.ones(len(log), dtype=bool)
    for role, name in roles.items():
        choice = getattr(spec, f"missing_{role}")
        if spec.missing_values is None and role in ("user", "item", "group"):
            problems += _spelled_out(log, role, name)
        absent = log.missing(name)
        if choice == "refuse" and absent.any():
            also = " or no_history (they stay, with no past)" if role == "user" else ""
            problems.append(
                f"log: {role} {name!r}: expected a value in every row, found none in "
                f"{log.counts(absent)}, the first in {log.place(int(np.argmax(absent)))}; to leave "
                f"such rows out set missing_{role} to drop{also} in the spec"
            )
        elif choice == "drop":
            keep &= ~absent
            dropped = int(absent.sum())
            if dropped:
                print(f"{dropped:,} rows without {role} dropped;", end=" ", file=sys.stderr)
        elif choice == NO_HISTORY and absent.any():
            print(f"{int(absent.sum()):,} rows without user;", end=" ", file=sys.stderr)
    if problems:
        raise DataError("\n".join(problems))
    return log.kept(keep)


def _spelled_out(log: RawLog, role: str, name: str) -> list[str]:
    """Complain about texts such as NULL, unless the spec says what they are."""
    masks, found = [], set()
    for column in log.column(name):
        mask = np.zeros(len(column), dtype=bool)
        if is_text(column.type):
            lower = pc.utf8_lower(pc.utf8_trim_whitespace(column))
            is_nothing = pc.is_in(lower, pa.array(_NOTHING, lower.type))
            mask = np.asarray(is_nothing.to_numpy(zero_copy_only=False), dtype=bool)
            found |= set(pc.unique(column.filter(is_nothing)).to_pylist())
        masks.append(mask)
    mask = np.concatenate(masks)
    if not mask.any():
        return []
    texts = ", ".join(repr(text) for text in sorted(found))
    return [
        f"log: {role} {name!r}: expected names, found {texts} in {log.counts(mask)}, the first in "
        f"{log.place(int(np.argmax(mask)))}; if that means no value, set missing_values: [{texts}] "
        "in the spec, if it is a name set missing_values: []"
    ]


def _without_copies(log: RawLog, drop: bool) -> RawLog:
    """Drop rows that equal an earlier one in every used column, or refuse them."""
    names = log.files[0].table.column_names
    codes = {str(number): _codes(log, name) for number, name in enumerate(names)}
    copies = pd.DataFrame(codes).duplicated().to_numpy()
    if not copies.any():
        return log
    number = int(copies.sum())
    if not drop:
        raise DataError(
            f"log: {number:,} of {len(log):,} rows equal an earlier row in every used column, the "
            f"first is {log.place(int(np.argmax(copies)))}; set duplicates to drop or keep in the "
            "spec"
        )
    print(f"{number:,} duplicate rows dropped;", end=" ", file=sys.stderr)
    return log.kept(~copies)


def _codes(log: RawLog, name: str) -> np.ndarray:
    """Equal numbers (N,) for equal values of a column."""
    columns = log.column(name)
    if len({column.type for column in columns}) > 1:
        columns = [pa.chunked_array([log.categories(name)])]
    chunks = [chunk for column in columns for chunk in column.chunks]
    whole = pa.chunked_array(chunks, columns[0].type).combine_chunks()
    indices = whole.dictionary_encode(null_encoding="encode").indices
    codes: np.ndarray = indices.to_numpy(zero_copy_only=False)
    return codes
