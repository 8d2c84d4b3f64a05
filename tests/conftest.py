"""Settings for every test: one thread per process, and no time limit per Hypothesis example."""

from __future__ import annotations

import os

from hypothesis import settings

# Read by torch and numpy when they load, and inherited by the processes that tests start. One
# thread keeps sums in one order and is the fastest for models as small as the tests'.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# On a shared machine an example's time says nothing. In CI examples are the same on every run.
settings.register_profile("loopfm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("loopfm")
