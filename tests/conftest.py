"""Settings for every test: one thread per process, and no time limit per Hypothesis example."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, Phase, settings

# Read by torch and numpy when they load, and inherited by the processes that tests start. One
# thread keeps sums in one order and is the fastest for models as small as the tests'.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a shared machine an example's time says nothing. In CI examples are the same on every run.
settings.register_profile("loopfm", deadline=None, derandomize="CI" in os.environ)
# `pytest --hypothesis-profile=nightly` or HYPOTHESIS_PROFILE=nightly: twelve times as many.
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=1_200,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Whether a test fails, not by which smallest example: for mutants of the package.
settings.register_profile(
    "mutants",
    deadline=None,
    max_examples=40,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "loopfm"))
