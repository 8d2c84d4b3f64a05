"""From a raw folder to a prepared data set, redone when the raw files or the script change."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import locked, sha256_file, write_json
from fuxictr_loopfm.prepared.dataset import PreparedDataset

ERROR_LINE = re.compile(rb"(?:^|[\r\n])(error: )")


def raw_identity(raw: Path | None, script: Path, options: list[str]) -> dict[str, Any]:
    """What the prepared data depend on: script, options, and the raw files' sizes and times."""
    files: dict[str, list[int]] = {}
    if raw is not None:
        found = [raw] if raw.is_file() else sorted(p for p in raw.rglob("*") if p.is_file())
        for path in found:
            status = path.stat()
            name = path.relative_to(raw).as_posix()
            files[name] = [status.st_size, status.st_mtime_ns]
    return {"script": sha256_file(script), "options": options, "files": files}


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
    folder = checkout.prepared(dev_id(dataset_id) if drop_last_period else dataset_id)
    options = ["--drop-last-period"] if drop_last_period else []
    with locked(folder):
        _prepare_if_changed(folder, script, raw, options)
    return PreparedDataset.load(folder)


def _prepare_if_changed(folder: Path, script: Path, raw: Path | None, options: list[str]) -> None:
    note = folder.with_name(f"{folder.name}.raw.json")
    ready = (folder / "dataset.yaml").is_file() and note.is_file()
    if ready and raw is None:
        return
    identity = raw_identity(raw, script, options)
    if ready and json.loads(note.read_text(encoding="utf-8")) == identity:
        return
    logging.info("Prepare %s", folder.name)
    # Without its note the former data set is not taken for the new one; it stays until then.
    note.unlink(missing_ok=True)
    run_script(script, folder, raw, options)
    write_json(note, identity)


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


def dev_id(dataset_id: str) -> str:
    """Id of the data set without its test period."""
    stem, _, suffix = dataset_id.rpartition("_")
    return f"{stem}_dev_{suffix}"
