"""From a raw folder to a prepared data set, made anew when the raw files or the script change.

Each state of raw files and script has a folder of its own, ``data/prepared/<id>-<fingerprint>``,
that is never written again. ``data/prepared/<id>``, which configurations name, is a link to the one
that was asked for last; whoever follows it keeps what it led to.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import (
    fingerprint,
    locked,
    scratch_dir,
    sha256_file,
    swapped,
    write_json,
)
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.dev_form import dev_id

_DEV = re.compile(r"(.+)_dev(_[^_]+)")
ERROR_LINE = re.compile(rb"(?:^|[\r\n])(error: )")


def raw_identity(raw: Path | None, script: Path, options: list[str]) -> dict[str, Any]:
    """What the prepared data depend on: code, options, and the raw files' sizes and times.

    The folder counts, too: sizes and whole seconds of two copies may agree.
    """
    files: dict[str, list[int]] = {}
    if raw is not None:
        found = [raw] if raw.is_file() else sorted(p for p in raw.rglob("*") if p.is_file())
        for path in found:
            status = path.stat()
            name = path.relative_to(raw).as_posix()
            files[name] = [status.st_size, status.st_mtime_ns]
    place = None if raw is None else str(raw.resolve())
    return {"script": _code_identity(script), "options": options, "raw": place, "files": files}


def _code_identity(script: Path) -> str:
    """SHA-256 of a script, and of the modules beside it that it imports, directly or not."""
    code, pending = [script], [script]
    while pending:
        for name in _imported(pending.pop()):
            path = script.with_name(f"{name}.py")
            if path.is_file() and path not in code:
                code.append(path)
                pending.append(path)
    if code == [script]:
        return sha256_file(script)
    digest = hashlib.sha256()
    for path in sorted(code):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _imported(file: Path) -> set[str]:
    """Names of the modules that a source file imports; what is wrong with it, running it says."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def prepare(
    checkout: Checkout, dataset_id: str, raw: Path | None, *, drop_last_period: bool = False
) -> PreparedDataset:
    """Prepared data set ``dataset_id``, made from ``raw`` unless it is up to date.

    Args:
        raw: raw folder, or a folder that holds a prepared data set already; None lets the script
            fetch its data, or reuses what was prepared before.
        drop_last_period: leave the test period out, to choose hyper-parameters honestly.
    Raises:
        ConfigError: unknown data set.
        DataError: the raw folder is missing or the preparation failed.
    """
    if raw is not None and not raw.exists():
        raise DataError(
            f"DATA={raw}: expected a folder with the raw files, found none. "
            "data_prep/README.md says which are needed and where they are from."
        )
    if raw is not None and (raw / "dataset.yaml").is_file():
        prepared = PreparedDataset.load(raw)
        if prepared.spec.dataset_id != dataset_id:
            raise DataError(
                f"{raw}/dataset.yaml: dataset_id: expected {dataset_id} (DATASET), found "
                f"{prepared.spec.dataset_id}. Give that id, or another folder."
            )
        if drop_last_period:
            raise DataError(
                f"DATA={raw}: expected raw files to leave the test period out of (--dev), found a "
                "prepared data set. Run its script with --drop-last-period and give the result "
                "with its own id."
            )
        return prepared
    script = checkout.script(dataset_id)
    link = checkout.prepared(dev_id(dataset_id) if drop_last_period else dataset_id)
    options = ["--drop-last-period"] if drop_last_period else []
    identity = raw_identity(raw, script, options)
    with locked(link):
        _adopt(link, identity)
        folder = _current(link, identity)
    if folder is None:
        folder = _named(link, identity)
        with locked(folder):
            if not _is_ready(folder):
                logging.info("Prepare %s", folder.name)
                run_script(script, folder, raw, options)
                write_json(_note(folder), identity)
    with locked(link):
        point(link, folder)
    return PreparedDataset.load(folder)


def _named(link: Path, identity: Mapping[str, Any]) -> Path:
    return link.with_name(f"{link.name}-{fingerprint(identity)}")


def _note(folder: Path) -> Path:
    """Says what a folder was made of. It is written last: without it the folder does not count."""
    return folder.with_name(f"{folder.name}.raw.json")


def _is_ready(folder: Path) -> bool:
    return (folder / "dataset.yaml").is_file() and _note(folder).is_file()


def _made_of(folder: Path) -> dict[str, Any]:
    made_of: dict[str, Any] = json.loads(_note(folder).read_text(encoding="utf-8"))
    return made_of


def _adopt(link: Path, identity: Mapping[str, Any]) -> None:
    """Give the folder of an earlier release, which lies where the link should be, its own name.

    The folder and the link to it change places in one step, so there is no moment without data.
    """
    if link.is_symlink():
        _note(link).unlink(missing_ok=True)  # left by a process that was killed at the end of this
        return
    if not _is_ready(link):
        return
    made_of = _made_of(link)
    if all(identity[name] == value for name, value in made_of.items()):
        made_of = dict(identity)
    folder = _named(link, made_of)
    write_json(_note(folder), made_of)
    _make_link(folder, folder)  # leads to itself until it lies where the folder lies now
    if not swapped(folder, link):
        folder.unlink()
        os.replace(link, folder)
        _make_link(link, folder)
    _note(link).unlink()


def _current(link: Path, identity: Mapping[str, Any]) -> Path | None:
    """The folder that the link leads to, if that will do.

    It does if it was made of this; or, where no raw files are named, of files that were.
    """
    folder = link.resolve()
    if not _is_ready(folder):
        return None
    made_of = _made_of(folder)
    if made_of == identity or (identity["raw"] is None and made_of.get("raw", "") is not None):
        return folder
    return None


def point(link: Path, folder: Path) -> None:
    """Let ``link`` lead to ``folder``, which lies beside it.

    Who follows the link meanwhile finds the former folder or this one. What somebody else put at
    that name, and is no link, stays.
    """
    if link.resolve() == folder.resolve():
        return
    if link.exists() and not link.is_symlink():
        logging.info("%s was put there by somebody else and stays; used is %s", link, folder.name)
        return
    _make_link(link, folder)


def _make_link(path: Path, folder: Path) -> None:
    """A link to ``folder``, beside it, in the place of a link that is there."""
    with scratch_dir(path.parent) as scratch:
        (scratch / path.name).symlink_to(folder.name, target_is_directory=True)
        os.replace(scratch / path.name, path)


def run_script(script: Path, folder: Path, raw: Path | None, options: Sequence[str] = ()) -> None:
    """Run a preparation script.

    Raises:
        DataError: it failed; the message is the script's own.
    """
    command = [sys.executable, str(script), "--out", str(folder), *options]
    if raw is not None:
        command += ["--data", str(raw)]
    code, message = _run(command)
    if code != 0:
        raise DataError(message or f"{script.name}: stopped; what it wrote stands above")


def _run(command: list[str]) -> tuple[int, str]:
    """(exit code, error message) of a script whose notices and progress are shown as they come.

    Its error, which stands last, is held back: it is reported once, by whoever asked.
    """
    kept = b""
    with subprocess.Popen(command, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        try:
            while chunk := process.stderr.read(4096):
                kept += chunk
                mark = ERROR_LINE.search(kept)
                # Without the mark, the line that is being written may still become it.
                end = mark.start(1) if mark else 1 + max(kept.rfind(b"\n"), kept.rfind(b"\r"))
                sys.stderr.write(kept[:end].decode("utf-8", errors="replace"))
                sys.stderr.flush()
                kept = kept[end:]
        except BaseException:
            process.terminate()  # who is stopped stops the script, and says so alone
            process.stderr.read()
            raise
    text = kept.decode("utf-8", errors="replace")
    if process.returncode == 0:
        sys.stderr.write(text)
    return process.returncode, text.removeprefix("error: ").strip()


def whole_id(dataset_id: str) -> str:
    """Id of the data set with its test period, of one without it; every other id is its own."""
    dev = _DEV.fullmatch(dataset_id)
    return "".join(dev.groups()) if dev else dataset_id
