"""What ``import fuxictr_loopfm`` offers, and that it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fuxictr_loopfm

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", fuxictr_loopfm.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(fuxictr_loopfm, name) is not None
    assert name in dir(fuxictr_loopfm)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="fuxictr_loopfm.*no_such_name"):
        _ = fuxictr_loopfm.no_such_name


def test_the_import_itself_loads_no_library() -> None:
    code = (
        "import sys, fuxictr_loopfm\n"
        "heads = {name.partition('.')[0] for name in sys.modules if not name.startswith('__')}\n"
        "print(heads - {*sys.stdlib_module_names})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == "" and done.stdout == "{'fuxictr_loopfm'}\n"
