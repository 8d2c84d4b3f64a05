"""The scripts of ``data_prep/`` are no package: put their folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "data_prep"), str(HERE)]
