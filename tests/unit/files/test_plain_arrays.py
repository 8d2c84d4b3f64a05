"""npy files of strangers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from fuxictr_loopfm.files.plain_arrays import map_npy


def test_an_array_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    found = map_npy(tmp_path / "a.npy", kind="f", ndim=2)
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]] and not found.flags.writeable


@pytest.mark.parametrize(("kind", "ndim"), [("i", 2), ("f", 1)])
def test_another_kind_is_refused(tmp_path: Path, kind: str, ndim: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"found float64 \(2, 3\)"):
        map_npy(tmp_path / "a.npy", kind=kind, ndim=ndim)


def header(text: str) -> bytes:
    """An npy file of a header alone."""
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}"),
     header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
     header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), header("(" * 110)],
)  # fmt: skip
def test_damaged_files_are_value_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        map_npy(tmp_path / "a.npy", kind="f", ndim=1)


def test_an_archive_is_no_array(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(1))
    (tmp_path / "a.npy").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="an archive of arrays"):
        map_npy(tmp_path / "a.npy", kind="f", ndim=1)
