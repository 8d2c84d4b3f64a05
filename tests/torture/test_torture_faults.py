"""Full disks, failing calls and signals; and what an exit says."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.exits import GO_ON, one_message
from tests.integration.planted import log_frame, write_log
from tests.torture.__main__ import run_apart
from tests.torture.whole import differences, digests, misread


@pytest.mark.slow
def test_every_fault_is_one_message_and_the_command_goes_on(tmp_path: Path) -> None:
    section = run_apart("faults", tmp_path, short=True)
    assert section.survivors == []
    for kind in ("a full disk", "failing calls", "SIG"):
        assert sum(n for what, n in section.tried.items() if what.startswith(kind)) >= 2, kind


def test_a_link_that_is_gone_or_leads_to_nothing_whole_is_noticed(tmp_path: Path) -> None:
    name = "checkout/data/prepared/Tiny_s1"
    link = tmp_path / name
    write_log(link.with_name("Tiny_s1-0"))
    write_log(link.with_name("Tiny_s1-1"), log_frame(seed=8))
    states = []
    for number in range(2):
        link.unlink(missing_ok=True)
        link.symlink_to(f"Tiny_s1-{number}")
        states.append(digests(tmp_path))
        assert misread(tmp_path, states) == []
    assert differences(*states) == [name]
    link.unlink()
    assert misread(tmp_path, states) == [f"{name}: gone"]
    link.symlink_to("Tiny_s1-2")
    (problem,) = misread(tmp_path, states)
    assert problem.startswith(f"{name}: leads to what is refused")
    link.unlink()
    link.symlink_to("Tiny_s1-0")
    (link / "events.parquet").write_bytes(b"half")
    assert len(misread(tmp_path, states)) == 1


def ended(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """What a command said to stderr, in one line."""
    text = capsys.readouterr().err
    assert text.endswith("\n") and text.count("\n") == 1, text
    return f"{code} {text.strip()}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("log.csv: wrong"), "1 error: log.csv: wrong"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.h5"),
            "1 error: a/b.h5: No space left on device. Free space or give another folder, then "
            "run the same command again.",
        ),
        (OSError("13 requested and 4 written"), "1 error: 13 requested and 4 written"),
        (MemoryError(), "1 error: out of memory. Use fewer --workers"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "1 error: out of memory"),
        (KeyboardInterrupt(), f"130 {GO_ON}"),
    ],
)
def test_what_is_no_bug_is_one_message(
    error: BaseException, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, one_message():
        raise error
    assert ended(capsys, int(str(caught.value.code))).startswith(message)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"), one_message():
        raise RuntimeError("a bug")


def _send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_end_the_clean_up(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = False
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, one_message():
        try:
            _send(number)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            cleaned = True
    assert cleaned and signal.getsignal(signal.SIGTERM) == before
    assert ended(capsys, int(str(caught.value.code))) == f"{128 + number} {GO_ON}"


def test_a_stop_that_a_library_takes_for_its_error_is_a_stop(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught, one_message():
        try:
            _send(signal.SIGTERM)
        except BaseException:
            raise ValueError("loss=bce is not supported") from None
    assert ended(capsys, int(str(caught.value.code))) == f"143 {GO_ON}"


class _Deaf:
    """Python drops what is raised while an object goes."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)


def test_a_stop_that_python_drops_is_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, one_message():
        _Deaf()
        time.sleep(5)
    assert ended(capsys, int(str(caught.value.code))) == f"143 {GO_ON}"


def test_other_threads_have_no_signals() -> None:
    codes: list[object] = []

    def command() -> None:
        try:
            with one_message():
                raise DataError("wrong")
        except SystemExit as end:
            codes.append(end.code)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert codes == [1]
