"""The options and bodies of ``loopfm benchmark``, ``paper`` and ``leaderboard``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fuxictr_loopfm.commands.options import at_least_one


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Which data set, and where its files are."""
    parser.add_argument("--dataset", required=True, help="data set id, e.g. KuaiRandPure_s1")
    parser.add_argument("--data", type=Path, help="raw folder, or a prepared one")
    parser.add_argument(
        "--dev", action="store_true", help="leave the test period out and test on the last "
        "training period: for choosing hyper-parameters"
    )  # fmt: skip


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """What ``loopfm benchmark`` can be given."""
    add_dataset(parser)
    parser.add_argument("--models", nargs="+", default=["DeepFM"], help="e.g. DeepFM DeepFM:small")
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=at_least_one, default=5, help="number of seeds (default 5)")
    parser.add_argument("--out", type=Path, help="output folder (default runs/<dataset>)")
    parser.add_argument("--zoo", type=Path, help="a FuxiCTR clone's model_zoo")
    parser.add_argument("--gpu", type=int, default=-1, help="GPU index, -1 for the CPU")


def add_paper(parser: argparse.ArgumentParser) -> None:
    """What ``loopfm paper`` can be given."""
    parser.add_argument(
        "--table", type=int, required=True, help="number of the paper's table, 1-11"
    )
    add_dataset(parser)
    parser.add_argument("--models", nargs="+", help="other vertical models than the table's")
    parser.add_argument("--seeds", type=at_least_one, default=5, help="number of seeds (default 5)")
    parser.add_argument("--out", type=Path, help="output folder (default runs/paper/<dataset>)")
    parser.add_argument("--zoo", type=Path, help="a FuxiCTR clone's model_zoo")
    parser.add_argument("--gpu", type=int, default=-1, help="GPU index, -1 for the CPU")


def add_leaderboard(parser: argparse.ArgumentParser) -> None:
    """What ``loopfm leaderboard`` can be given."""
    parser.add_argument("records", type=Path, nargs="+", help="record files or folders")
    parser.add_argument("--out", type=Path, help="also write leaderboard.{csv,md,html} there")


def run_benchmark(options: argparse.Namespace) -> None:
    """Run models x methods x seeds, print and write the leaderboard."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan, log_to_file
    from fuxictr_loopfm.evidence.benchmark.configs import METHODS
    from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
    from fuxictr_loopfm.evidence.leaderboard.rows import summarise
    from fuxictr_loopfm.pipeline.preparation import prepare

    checkout = Checkout.find()
    out = options.out or Path("runs") / options.dataset
    # Checked before the data are prepared, which may take long.
    plan = BenchmarkPlan(
        models=tuple(options.models),
        methods=tuple(options.methods or METHODS),
        seeds=options.seeds,
        out=out,
        zoo=options.zoo,
        gpu=options.gpu,
        command=_benchmark_command(options),
    )
    log_to_file(out / "benchmark.log")
    prepared = prepare(checkout, options.dataset, options.data, drop_last_period=options.dev)
    records = Benchmark(checkout, prepared, plan).run()
    write_leaderboard(records, out)
    print(to_terminal(summarise(records)))
    print(f"\nleaderboard: {out / 'leaderboard.md'}, .html and .csv; records: {out / 'records'}")


def _benchmark_command(options: argparse.Namespace) -> str:
    """The command to repeat; a raw folder is the reader's own, so it is only hinted at."""
    parts = [f"make benchmark DATASET={options.dataset}"]
    if options.data is not None:
        parts.append("DATA=<raw folder>")
    parts.append(f'MODELS="{" ".join(options.models)}"')
    if options.methods:
        parts.append(f'METHODS="{" ".join(options.methods)}"')
    parts.append(f"SEEDS={options.seeds}")
    if options.zoo is not None:
        parts.append("ZOO=<model_zoo folder>")
    return " ".join([*parts, *(["DEV=1"] if options.dev else [])])


def run_paper(options: argparse.Namespace) -> None:
    """Run a table of the paper, print ours beside the paper's."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.config.device import require_device
    from fuxictr_loopfm.evidence.benchmark.benchmark import log_to_file
    from fuxictr_loopfm.evidence.paper.render import write_table
    from fuxictr_loopfm.evidence.paper.run import run_table
    from fuxictr_loopfm.evidence.paper.table import load_table
    from fuxictr_loopfm.pipeline.preparation import prepare

    require_device(options.gpu)
    checkout = Checkout.find()
    table = load_table(checkout.root / "benchmark_configs" / "paper", options.table)
    out = options.out or Path("runs") / "paper" / options.dataset
    log_to_file(out / "paper.log")
    prepared = prepare(checkout, options.dataset, options.data, drop_last_period=options.dev)
    records = run_table(
        checkout,
        prepared,
        table,
        options.seeds,
        out,
        options.gpu,
        models=options.models,
        zoo=options.zoo,
    )
    print(write_table(table, records, out))


def run_leaderboard(options: argparse.Namespace) -> None:
    """Print, and if asked write, the leaderboard of run records."""
    from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
    from fuxictr_loopfm.evidence.leaderboard.rows import summarise
    from fuxictr_loopfm.records.record import read_records

    records = read_records(options.records)
    if options.out is not None:
        write_leaderboard(records, options.out)
    print(to_terminal(summarise(records)))
