"""Run tests against mutants of a copy of the project: ``python mutant_runner.py PLAN.json``.

The large libraries are imported once, the package never; each mutant is a forked child that
imports the altered package and runs its tests. The working folder is the copy.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "pandas", "polars", "pyarrow.parquet", "h5py", "torch", "sklearn.metrics")
LIBRARIES += ("yaml", "hypothesis", "pytest", "fuxictr.pytorch.models", "fuxictr.preprocess", "ray")


def main(plan: Path) -> None:
    """Write, beside the plan, each mutant's exit code and seconds as it is done."""
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.dont_write_bytecode = True
    with open(plan.with_suffix(".jsonl"), "w", encoding="utf-8") as answers:
        for entry in json.loads(plan.read_text(encoding="utf-8")):
            started = time.monotonic()
            code = _tried(entry, plan.with_name(f"{entry['number']:02d}.log"))
            seconds = time.monotonic() - started
            answers.write(json.dumps({**entry, "code": code, "seconds": seconds}) + "\n")
            answers.flush()


def _tried(entry: dict[str, Any], log: Path) -> int:
    """The exit code of pytest for the altered package; the file is put back."""
    path = Path(entry["file"]).resolve()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(entry["old"], entry["new"]), encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _test_and_exit(entry["tests"], log)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        path.write_text(text, encoding="utf-8")


def _test_and_exit(tests: list[str], log: Path) -> None:
    code = 70
    try:
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.path.insert(0, os.getcwd())
        import pytest

        import fuxictr_loopfm

        # A package that is installed elsewhere would pass whatever is done to the copy.
        assert Path(fuxictr_loopfm.__file__).is_relative_to(os.getcwd())
        options = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore"]
        code = int(pytest.main([*options, *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
