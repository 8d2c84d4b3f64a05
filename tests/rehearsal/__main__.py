"""Dress rehearsal: generated raw files of TaobaoAd's size through every stage, measured.

Each stage is a process of its own under a limit of memory. After every stage ``OUT/report.md`` and
``OUT/report.json`` are written anew; the stages' logs are beside them. What the stages made is
deleted at the end.

    python -m tests.rehearsal --scale 1 --out runs/rehearsal
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.records.environment import collect_environment
from tests.rehearsal.measured import Measured, folder_bytes, run_measured
from tests.rehearsal.raw_log import Size
from tests.rehearsal.rehearsal_report import GIB, write_report
from tests.rehearsal.stages import DATASET_ID, STAGES

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("polars", "pandas", "pyarrow", "h5py")


def main(arguments: list[str] | None = None) -> int:
    """Run all stages; the exit code is 0 if all passed."""
    options = parse(arguments)
    out = options.out.resolve()
    work = out / "work"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    report: dict[str, Any] = {
        "options": {n: getattr(options, n) for n in ("scale", "thin", "seed", "vm_batches")},
        "environment": environment(),
        "size": asdict(Size.scaled(options.scale, options.thin)),
        "limit_gib": options.memory_limit,
        "stages": [],
    }
    for name, command in commands(work, options).items():
        print(f"{name} ...", flush=True)
        measured = run_measured(
            command,
            cwd=ROOT,
            log=out / f"{name}.log",
            disk=work,
            limit_bytes=int(options.memory_limit * GIB),
        )
        report["stages"].append({"stage": name, **asdict(measured), **facts(work, name, measured)})
        write_report(out, report)
        if measured.code != 0:
            print(f"error: {name} failed; see {out / f'{name}.log'}", file=sys.stderr)
            return 1
    shutil.rmtree(work)
    print((out / "report.md").read_text(encoding="utf-8"))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--scale", type=float, default=1.0, help="share of TaobaoAd's users, ads and rows")
    add("--thin", type=float, default=10.0, help="behaviours of the log per one generated")
    add("--out", type=Path, default=Path("runs/rehearsal"), help="folder for the report")
    add("--seed", type=int, default=7)
    add("--memory-limit", type=float, default=16.0, metavar="GiB", help="of each stage's process")
    add("--vm-batches", type=int, default=200, help="timed part of the vertical model's epoch")
    return parser.parse_args(arguments)


def commands(work: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each stage, in order."""
    python = sys.executable
    stage_options = ["--work", str(work)]
    for name in ("scale", "thin", "seed", "vm_batches"):
        stage_options += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    found = {
        name: [python, "-m", "tests.rehearsal.stages", name, *stage_options] for name in STAGES
    }
    prepare = [python, str(ROOT / "data_prep" / "taobao_ad.py"), "--data", str(work / "raw")]
    prepare += ["--out", str(work / "prepared" / DATASET_ID)]
    prepare += ["--memory-limit", str(options.memory_limit)]
    generate, *others = found
    return {generate: found[generate], "prepare": prepare, **{n: found[n] for n in others}}


def facts(work: Path, name: str, measured: Measured) -> dict[str, Any]:
    """What a stage says of itself; a preparation script says it in ``dataset.yaml``."""
    if measured.code != 0:
        return {}
    if name != "prepare":
        found: dict[str, Any] = json.loads((work / "facts" / f"{name}.json").read_text("utf-8"))
        return found
    folder = work / "prepared" / DATASET_ID
    rows = yaml.safe_load((folder / "dataset.yaml").read_text(encoding="utf-8"))["rows"]
    return {
        "rows": rows,
        "unit": "joined impression",
        "seconds": measured.wall,
        "cpu_seconds": measured.cpu,
        "bytes_per_row": folder_bytes(folder) / rows,
    }


def environment() -> dict[str, Any]:
    """Machine and versions."""
    found = collect_environment()
    found |= {name: metadata.version(name) for name in LIBRARIES}
    pages = Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]
    return found | {"memory_gib": round(int(pages) / 2**20, 1)}


if __name__ == "__main__":
    sys.exit(main())
