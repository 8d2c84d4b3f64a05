"""Trying the cases: a child for each, in a folder of its own."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuxictr_loopfm.commands import cli
from fuxictr_loopfm.runs import run_expid
from tests.torture import bad_input_world as world
from tests.torture.bad_input_cases import Case
from tests.torture.bad_input_spoilers import one, spoil
from tests.torture.forked import run

SECONDS = 120.0
_PLACES = {
    "config": "configs",
    "plain": "plain_configs",
    "prepared": "prepared",
    "records": "runs/records",
    "store": "data/artifacts/Planted_s1/store-*",
    "tuner": "tuner/tuner.yaml",
    "spec": "raw/spec.yaml",
    "out": "out",
}
# Not debris: who waited for whom, and what was going on.
_HARMLESS = (".lock", ".log")


def answers(folder: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Build the checkout and try the cases in copies of it.

    Returns:
        For each case the exit ``code``, what it wrote to stderr (``error``), and the files that are
        new, gone or other than before (``changed``), relative, without locks and logs.
    """
    template = folder / "template"
    built = run(lambda: world.build(template), folder / "build.log", seconds=SECONDS)
    if built.code != 0:
        raise RuntimeError(built.text)
    return [_tried(case, template, folder) for case in cases]


def _tried(case: Case, template: Path, folder: Path) -> dict[str, Any]:
    place, seen, shown = (folder / name for name in (f"case/{case.folder}", "seen", "stderr"))
    world.copied(template, place)
    seen.unlink(missing_ok=True)

    def child() -> None:
        os.chdir(place)
        spoil(place, case.spoil)
        seen.write_text(json.dumps(_files(place)), encoding="utf-8")
        os.dup2(os.open(shown, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        world.stand_in(place)
        _run(case, place)

    ended = run(child, folder / "stdout", seconds=SECONDS)
    error, changed = ended.text, []
    if seen.is_file():  # else it could not even be spoiled
        before, now = json.loads(seen.read_text(encoding="utf-8")), _files(place)
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        error = shown.read_text(encoding="utf-8", errors="replace").replace(f"{place}/", "")
    for path in place.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder / "case")
    changed = [name for name in changed if not name.endswith(_HARMLESS)]
    return {"code": ended.code, "error": error, "changed": changed}


def _run(case: Case, place: Path) -> None:
    """Run the command as its script would, in this process."""
    places = {
        name: str(one(place, path).relative_to(place)) if "*" in path else path
        for name, path in _PLACES.items()
        if "{" + name + "}" in case.command
    }
    program, *arguments = [word.format(**places) for word in shlex.split(case.command)]
    sys.argv = [program, *arguments]
    if program == "loopfm":
        cli.main(arguments)
    elif program == "run_expid.py":
        run_expid.main(str(place / "model_zoo" / "DeepFM" / "run_expid.py"), arguments)
    else:
        scripts = place / ("model_zoo" if program == "run_param_tuner.py" else "data_prep")
        runpy.run_path(str(scripts / program), run_name="__main__")


def _files(folder: Path) -> dict[str, list[int]]:
    """Size and time of every file; links are not followed."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(where, name))
            path = os.path.relpath(os.path.join(where, name), folder)
            found[path] = [status.st_size, status.st_mtime_ns]
    return found
