"""What FuxiCTR's ``run_expid.py`` writes of a run: its log and its line in a CSV file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fuxictr.utils import print_to_json, print_to_list, set_logger

from fuxictr_loopfm.files.atomic import append_line


def start_log(params: Mapping[str, Any], *, to_file: bool) -> None:
    """Log the params, as FuxiCTR does before a run.

    Args:
        params: FuxiCTR params; they say where the log file lies.
        to_file: open the log file and the console first; False where another process has them.
    """
    if to_file:
        set_logger(params)
    logging.info("Params: %s", print_to_json(params))


def append_result_line(
    path: Path,
    expid: str,
    dataset_id: str,
    results: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str],
) -> None:
    """Append FuxiCTR's result line, in its own format.

    Args:
        path: the CSV file; made if missing.
        expid, dataset_id: names of the run.
        results: values by metric, by split (``valid``, ``test``).
        metrics: the metrics to show, in this order.
    """

    def shown(split: str) -> str:
        values = results.get(split, {})
        return print_to_list({name: values[name] for name in metrics if name in values})

    line = " {},[command] python {},[exp_id] {},[dataset_id] {},[train] {},[val] {},[test] {}"
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    command = " ".join(sys.argv)
    values = (time, command, expid, dataset_id, "N.A.", shown("valid"), shown("test"))
    append_line(path, line.format(*values))
