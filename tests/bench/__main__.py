"""Run the bench. Options are environment variables, as ``make bench`` passes them on.

SCALE     largest synthetic log in million events (default 5; 25 for the whole table)
ONLY      sections, comma-separated (default all)
REPEAT    interleaved repetitions (default 5)
KUAIRAND  folder of the prepared KuaiRand data set, for its history lengths
STORE     an event store with the codec f32, for the codecs' errors on real embeddings
OUT       folder of bench.json and bench.md (default runs/bench)
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from tests.bench import (
    disk,
    encoder_step,
    extraction_rows,
    gather,
    loader,
    quality,
    report,
    step,
    structuring,
    vertical_step,
)
from tests.bench.rows import Row
from tests.bench.settings import Settings

SECTIONS: dict[str, Callable[[Settings], Iterable[Row]]] = {
    "loader": loader.measure,
    "gather": gather.measure,
    "disk": disk.measure,
    "structuring": structuring.measure,
    "encoder": encoder_step.measure,
    "vertical": vertical_step.measure,
    "step": step.measure,
    "extraction": extraction_rows.measure,
    "gauc": quality.measure_gauc,
    "int4": quality.measure_int4,
}


def main(environment: Mapping[str, str]) -> int:
    """Measure the chosen sections, print the table and write the report."""
    only = [name for name in environment.get("ONLY", "").replace(" ", ",").split(",") if name]
    unknown = sorted(set(only) - set(SECTIONS))
    if unknown:
        print(f"ONLY: expected any of {', '.join(SECTIONS)}, found {unknown}", file=sys.stderr)
        return 2
    chosen = [name for name in SECTIONS if name in (only or SECTIONS)]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loopfm-bench-") as scratch:
        settings = Settings(
            scale=float(environment.get("SCALE") or 5),
            repetitions=int(environment.get("REPEAT") or 5),
            scratch=Path(scratch),
            kuairand=_folder(environment, "KUAIRAND"),
            store=_folder(environment, "STORE"),
        )
        run = report.describe(settings, chosen)
        rows: list[Row] = []
        for name in chosen:
            start = time.perf_counter()
            rows += SECTIONS[name](settings)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        out = Path(environment.get("OUT") or "runs/bench")
        report.write(out, run, rows)
    print("\n".join(report.table_lines(rows)))
    print(f"\n{out / 'bench.json'}\n{out / 'bench.md'}")
    return 0


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    if not value:
        return None
    if not Path(value).is_dir():
        raise SystemExit(f"{name}: expected a folder, found {value}")
    return Path(value)


if __name__ == "__main__":
    sys.exit(main(os.environ))
