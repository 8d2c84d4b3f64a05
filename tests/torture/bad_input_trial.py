"""Trying the cases: a warmed process that forks a child for each, in a folder of its own.

``python -m tests.torture.bad_input_trial FOLDER IDS...`` writes ``FOLDER/answers.json``. It is a
process of its own because the parent must not have used the thread pools of torch, polars and
arrow, which do not survive a fork; it imports them and no more.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch._dynamo  # noqa: F401 what an optimizer imports late; once for all

from fuxictr_loopfm.commands import cli
from fuxictr_loopfm.runs import run_expid
from tests.torture import bad_input_world as world
from tests.torture.bad_input_cases import Case, load_cases
from tests.torture.bad_input_spoilers import one, spoil

# What the commands import late, once for all trials.
for _late in (
    "evidence.benchmark.benchmark",
    "evidence.benchmark.sweep",
    "evidence.leaderboard.render",
    "evidence.paper.run",
    "evidence.paper.render",
    "evidence.publish.publish",
    "pipeline.preparation",
    "pipeline.workspace",
    "runs.export",
    "runs.run_expid",
    "store.describe",
):
    importlib.import_module(f"fuxictr_loopfm.{_late}")

SECONDS = 120.0
ANSWERS = "answers.json"
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


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Attributes:
        code: its exit code, -1 if it did not end in time.
        error: what it wrote to stderr.
        changed: files that are new, gone or other than before, relative; no locks and logs.
        seconds: of CPU.
    """

    code: int
    error: str
    changed: list[str]
    seconds: float


def main(folder: Path, ids: list[str]) -> None:
    """Build the checkout, try the cases, write their answers."""
    template = folder / "template"
    built = _forked(lambda: world.build(template), folder / "build.log")
    if built != 0:
        raise SystemExit((folder / "build.log").read_text(encoding="utf-8"))
    cases = {case.id: case for case in load_cases()}
    answers = {name: asdict(_tried(cases[name], template, folder)) for name in ids}
    (folder / ANSWERS).write_text(json.dumps(answers), encoding="utf-8")


def _tried(case: Case, template: Path, folder: Path) -> Answer:
    place = folder / "case" / case.folder
    world.copied(template, place)
    seen = folder / "seen.json"
    shown = folder / "stderr.txt"
    shown.write_bytes(b"")
    before_cpu = os.times()

    def child() -> None:
        os.chdir(place)
        sys.path.insert(0, str(place / "data_prep"))
        spoil(place, case.spoil)
        seen.write_text(json.dumps(_files(place)), encoding="utf-8")
        errors = os.open(shown, os.O_WRONLY | os.O_TRUNC)
        os.dup2(errors, 2)
        world.stand_in(place)
        _run(case, place)

    code = _forked(child, folder / "stdout.txt")
    after_cpu = os.times()
    before = json.loads(seen.read_text(encoding="utf-8")) if seen.is_file() else {}
    seen.unlink(missing_ok=True)
    now = _files(place)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    used = (after_cpu.children_user + after_cpu.children_system) - (
        before_cpu.children_user + before_cpu.children_system
    )
    error = shown.read_text(encoding="utf-8", errors="replace").replace(f"{place}/", "")
    if not before:
        error = (folder / "stdout.txt").read_text(encoding="utf-8", errors="replace")
    for path in place.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder / "case")
    return Answer(code, error, [name for name in changed if not name.endswith(_HARMLESS)], used)


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


def _forked(work: Callable[[], None], output: Path) -> int:
    """Exit code of ``work`` in a child whose output goes to a file; -1 if it hangs."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os._exit(_coded(work, output))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def _coded(work: Callable[[], None], output: Path) -> int:
    """What the interpreter would do at the end of a script: a code, and a traceback if need be."""
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    code = 0
    try:
        work()
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _files(folder: Path) -> dict[str, list[int]]:
    """Size and time of every file; links are not followed."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(where, name))
            path = os.path.relpath(os.path.join(where, name), folder)
            found[path] = [status.st_size, status.st_mtime_ns]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
