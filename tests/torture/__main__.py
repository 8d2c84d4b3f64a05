"""``make torture``: every section at full length, two at a time, and a report."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.torture.section import Profile, Section
from tests.torture.torture_report import Result, render

# The longest first, so that two of them at a time end together.
SECTIONS = (
    "kills",
    "soak",
    "causality",
    "fuzz",
    "same_bits",
    "memory",
    "mutants",
    "corruption",
    "faults",
    "bad_input",
    "concurrency",
    "hostile",
    "canary",
    "archives",
)
AT_A_TIME = 2
ENVIRONMENTS = {
    # Pools that reserve address space in advance, per thread or in huge pieces.
    "memory": {
        "MALLOC_ARENA_MAX": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    },
    # Some cases ask for a GPU on a machine without one; this makes it so.
    "bad_input": {"CUDA_VISIBLE_DEVICES": ""},
}
ROOT = Path(__file__).resolve().parents[2]


def run_section(name: str, profile: Profile) -> Section:
    """Run a section in this process."""
    module = importlib.import_module(f"tests.torture.{name}")
    section: Section = module.torture(profile)
    return section


def environment(name: str) -> dict[str, str]:
    """Variables of a section's process."""
    paths = filter(None, [str(ROOT / "data_prep"), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **ENVIRONMENTS.get(name, {})}


def run_apart(name: str, out: Path, *, short: bool) -> Section:
    """A section in a process of its own: a crash is its own survivor and ends no other.

    Its answer and its output are ``<name>.json`` and ``<name>.log`` in the folder ``out``.
    """
    answer = out / f"{name}.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.torture", "--one", name, "--out", str(out)]
    command += ["--short"] if short else []
    with open(out / f"{name}.log", "wb") as log:
        done = subprocess.run(command, cwd=ROOT, env=environment(name), stdout=log, stderr=log)
    if answer.is_file():
        return Section(**json.loads(answer.read_text(encoding="utf-8")))
    return Section(name, survivors=[f"ended with code {done.returncode}, see {name}.log"])


def _timed(name: str, options: argparse.Namespace) -> Result:
    started = time.monotonic()
    section = run_apart(name, options.out, short=options.short)
    minutes = (time.monotonic() - started) / 60
    print(f"{name}: {minutes:.1f} min, {len(section.survivors)} survivors", flush=True)
    return Result(name, section, minutes)


def _one(name: str, options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"loopfm-torture-{name}-"))
    try:
        section = run_section(name, Profile(folder, long=not options.short))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    answer: dict[str, Any] = asdict(section)
    (options.out / f"{name}.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections; 1 if anything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/torture"), help="for the report")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    parser.add_argument("--short", action="store_true", help="as the tests run it")
    parser.add_argument("--one", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        _one(options.one, options)
        return 0
    started = time.monotonic()
    names = [name for name in SECTIONS if name in options.only]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(lambda name: _timed(name, options), names))
    minutes = (time.monotonic() - started) / 60
    text = render(results, minutes, short=options.short)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(f"{options.out / 'report.md'}: {minutes:.0f} min")
    return int(any(result.section.survivors for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
