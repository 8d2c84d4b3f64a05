"""Files that are whole or absent, and who may delete what a killed process left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str, *names: str) -> None:
    """A folder of files that all say the same."""
    with atomic.atomic_dir(folder) as temporary:
        for name in names:
            (temporary / name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "file", "old")
    write(tmp_path / "folder", "old", "a")
    with (
        pytest.raises(ValueError, match="wrong"),
        atomic.atomic_path(tmp_path / "file") as temporary,
    ):
        temporary.write_text("half")
        raise ValueError("wrong")
    with pytest.raises(ValueError, match="wrong"), atomic.atomic_dir(tmp_path / "folder") as folder:
        (folder / "a").write_text("half")
        raise ValueError("wrong")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "a").read_text() == "old"


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:
        monkeypatch.setattr(atomic, "swapped", lambda *_: False)
    write(tmp_path / "folder", "old", "a", "b")
    write(tmp_path / "folder", "new", "b", "c")
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["b", "c"]
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    write(tmp_path / "link", "newer", "d")
    assert names(tmp_path) == ["folder", "link"] and names(tmp_path / "folder") == ["b", "c"]
    assert names(tmp_path / "link") == ["d"] and not (tmp_path / "link").is_symlink()


def test_without_swapping_a_failed_rename_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "folder", "old", "a")
    monkeypatch.setattr(atomic, "swapped", lambda *_: False)
    replace, calls = os.replace, []

    def third_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 3:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", third_fails)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "folder", "new", "a")
    assert names(tmp_path) == ["folder"] and (tmp_path / "folder" / "a").read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from fuxictr_loopfm.files import atomic
with atomic.atomic_path(Path(sys.argv[1]) / "file") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("clears", ["writing", "locking"])
def test_what_a_killed_process_left_is_cleared_away_and_nobody_elses(
    tmp_path: Path, clears: str
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = names(tmp_path)
    assert left.startswith(TEMPORARY_PREFIX)
    (tmp_path / f"{TEMPORARY_PREFIX}of-an-earlier-release.h5").write_text("half")
    with atomic.scratch_dir(tmp_path / "other") as scratch:
        moved = tmp_path / scratch.name
        scratch.rename(moved)  # as if it were of another process: its lock is held
        if clears == "writing":
            atomic.write_text(tmp_path / "file", "whole")
        else:
            with atomic.locked(tmp_path / "file"):
                pass
        assert [name for name in names(tmp_path) if name.startswith(TEMPORARY_PREFIX)] == [
            moved.name
        ]
        moved.rename(scratch)


def test_errors_name_the_target_and_say_that_the_disk_is_full(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        atomic.atomic_path(tmp_path / "a"),
    ):
        raise OSError("Not enough free space to write 800 bytes")
    assert caught.value.filename == str(tmp_path / "a") and caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        atomic.require_space(tmp_path / "a", 1 << 60)
    atomic.require_space(tmp_path / "a", 1)


def test_a_line_is_appended_after_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    atomic.append_line(path, "one")
    with open(path, "a") as stream:
        stream.write("tw")
    atomic.append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_a_reader_gets_the_old_folder_or_the_new(tmp_path: Path) -> None:
    """A replacement in the middle of a reading makes it read again; a damage does not."""
    write(tmp_path / "folder", "old", "a", "b")
    calls = []

    def read() -> list[str]:
        calls.append(1)
        first = (tmp_path / "folder" / "a").read_text()
        if len(calls) == 1:
            write(tmp_path / "folder", "new", "a", "b")
        return [first, (tmp_path / "folder" / "b").read_text()]

    assert atomic.read_whole(tmp_path / "folder", read) == ["new", "new"] and len(calls) == 2

    def damaged() -> None:
        calls.append(1)
        raise StoreError("damaged")

    with pytest.raises(StoreError, match="damaged"):
        atomic.read_whole(tmp_path / "folder", damaged)
    assert len(calls) == 3


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "folder", "0", "a", "b")
    missing, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                (tmp_path / "folder" / "a").read_text()
            except OSError as error:
                missing.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for text in map(str, range(60)):
        write(tmp_path / "folder", text, "a", "b")
    done.set()
    reader.join()
    assert missing == []
