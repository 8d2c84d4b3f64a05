"""Lines of a csv file that are no rows are named before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuxictr_loopfm.data.plain_csv import require_one_row_a_line
from fuxictr_loopfm.errors import DataError

GOOD = [
    "a,b\n1,2\n",
    'a,b\n"x, ""y"" z",2\n"",""\n',
    "\ufeffa,b\r\n1,2\r\n\r\n",
    # A column that is not read may be there twice.
    "a,b,other,other\n1,2,3,4\n",
    # Which column is missing is said where the columns are taken.
    "a;b\n1,5;2\n",
    "",
]
BAD = {
    'a,b\n1,2\n"3,4\n5,"6\n': "line 3: expected quotes that are closed on their line",
    'a,b\n5" tv,4\n': "line 2: expected quotes that are closed on their line",
    'a,b\n"x,y",2\n1\n': "line 3: expected 2 values as in the header, found 1",
    "a,b\n1,2,3\n": "line 2: expected 2 values as in the header, found 3",
    "a,b,a\n1,2,3\n": "header: expected each column once, found a twice",
}


@pytest.mark.parametrize("text", GOOD)
def test_rows_that_are_lines_are_taken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode())
    require_one_row_a_line(path, ("a", "b"))


@pytest.mark.parametrize("text", BAD)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=BAD[text]):
        require_one_row_a_line(path, ("a", "b"))
