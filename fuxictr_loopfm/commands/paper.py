"""``loopfm paper``: a table of the LoopFM paper, ours beside theirs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fuxictr_loopfm.commands.options import add_dataset, add_gpu, add_jobs, add_seeds, add_zoo
from fuxictr_loopfm.config.paths import user_path

SUMMARY = "Run a table of the LoopFM paper and print ours beside the paper's."
EXAMPLE = "loopfm paper --table 2 --dataset MovieLens100K_s1 --seeds 3"


def add_options(parser: argparse.ArgumentParser) -> None:
    """A table, a data set, and where the results go."""
    parser.add_argument(
        "--table", type=int, required=True, help="number of the paper's table, 1-11"
    )
    add_dataset(parser)
    parser.add_argument("--models", nargs="+", help="other vertical models than the table's")
    add_seeds(parser)
    add_jobs(parser)
    parser.add_argument("--out", type=user_path, help="output folder (runs/paper/<dataset>)")
    add_zoo(parser)
    add_gpu(parser)


def run(options: argparse.Namespace) -> None:
    """Run what the table lists, write and print it."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.config.device import require_device
    from fuxictr_loopfm.evidence.benchmark.benchmark import require_models
    from fuxictr_loopfm.evidence.benchmark.results import results_folder
    from fuxictr_loopfm.evidence.benchmark.runner import log_to_file
    from fuxictr_loopfm.evidence.paper.render import write_table
    from fuxictr_loopfm.evidence.paper.run import run_table
    from fuxictr_loopfm.evidence.paper.table import load_table
    from fuxictr_loopfm.pipeline.preparation import prepare
    from fuxictr_loopfm.prepared.dev_form import dev_id

    # Checked before the data are prepared, which may take long.
    require_device(options.gpu)
    checkout = Checkout.find()
    table = load_table(checkout.root / "benchmark_configs" / "paper", options.table)
    models = [vertical.model for vertical in table.verticals(options.models)]
    require_models(checkout, models, options.zoo)
    dataset_id = dev_id(options.dataset) if options.dev else options.dataset
    default = Path("runs") / "paper" / dataset_id
    log_to_file((options.out or default) / "paper.log")
    prepared = prepare(checkout, options.dataset, options.data, drop_last_period=options.dev)
    out = results_folder(prepared, default, options.out)
    log_to_file(out / "paper.log")
    records = run_table(
        checkout,
        prepared,
        table,
        options.seeds,
        out,
        options.gpu,
        models=options.models,
        zoo=options.zoo,
        jobs=options.jobs,
    )
    print(write_table(table, records, out))
