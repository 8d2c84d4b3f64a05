"""``loopfm benchmark``: models x methods x seeds on a data set."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fuxictr_loopfm.commands.options import (
    add_dataset,
    add_gpu,
    add_jobs,
    add_seeds,
    add_teacher_seeds,
    add_zoo,
)
from fuxictr_loopfm.config.paths import user_path

SUMMARY = "Run models x methods x seeds on a data set and print the leaderboard."
EXAMPLE = "loopfm benchmark --dataset MovieLens100K_s1 --seeds 3"


def add_options(parser: argparse.ArgumentParser) -> None:
    """A data set, what to run on it, and where the results go."""
    add_dataset(parser)
    parser.add_argument("--models", nargs="+", default=["DeepFM"], help="e.g. DeepFM DeepFM:small")
    parser.add_argument("--methods", nargs="+", help="default: the board of docs/decisions/015")
    add_seeds(parser)
    add_teacher_seeds(parser)
    add_jobs(parser)
    parser.add_argument("--out", type=user_path, help="output folder (default runs/<dataset>)")
    add_zoo(parser)
    parser.add_argument(
        "--teacher-config",
        type=user_path,
        metavar="FOLDER",
        help="the teacher's configuration folder, for example one of `tune-teacher` (default: the "
        "committed one, else one that is generated)",
    )
    parser.add_argument(
        "--teacher-minutes",
        type=float,
        default=3.0,
        metavar="N",
        help="where no teacher is committed, search its settings for so long, without the test "
        "period; 0 takes what follows from the log's statistics (default 3)",
    )
    parser.add_argument(
        "--own-sequences",
        action="store_true",
        help="vertical models also read the sequences that the data set gives to the teacher "
        "alone (models that need one get them anyway)",
    )
    add_gpu(parser)


def run(options: argparse.Namespace) -> None:
    """Run all, print and write the leaderboard."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.evidence.benchmark.benchmark import (
        Benchmark,
        BenchmarkPlan,
        require_models,
    )
    from fuxictr_loopfm.evidence.benchmark.comparisons import compare
    from fuxictr_loopfm.evidence.benchmark.results import RECORDS, results_folder
    from fuxictr_loopfm.evidence.benchmark.runner import log_to_file
    from fuxictr_loopfm.evidence.leaderboard.context import describe
    from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
    from fuxictr_loopfm.evidence.leaderboard.rows import summarise
    from fuxictr_loopfm.evidence.methods import DEFAULT_METHODS
    from fuxictr_loopfm.pipeline.preparation import prepare
    from fuxictr_loopfm.prepared.dev_form import dev_id

    checkout = Checkout.find()
    default = Path("runs") / (dev_id(options.dataset) if options.dev else options.dataset)
    out = options.out or default
    # Checked before the data are prepared, which may take long.
    plan = BenchmarkPlan(
        models=tuple(options.models),
        methods=tuple(options.methods or DEFAULT_METHODS),
        seeds=options.seeds,
        out=out,
        zoo=options.zoo,
        gpu=options.gpu,
        command=_command(options),
        jobs=options.jobs,
        own_sequences=options.own_sequences,
        teacher_seeds=options.teacher_seeds,
        teacher_config=options.teacher_config,
        teacher_minutes=options.teacher_minutes,
    )
    require_models(checkout, plan.models, plan.zoo)
    log_to_file(out / "benchmark.log")
    prepared = prepare(checkout, options.dataset, options.data, drop_last_period=options.dev)
    out = results_folder(prepared, default, options.out)
    if out != plan.out:
        log_to_file(out / "benchmark.log")
    records = Benchmark(checkout, prepared, replace(plan, out=out)).run()
    comparisons = compare(records, out / RECORDS)
    write_leaderboard(records, out, comparisons)
    print(to_terminal(summarise(records, comparisons)))
    for note in describe(records).notes:
        print(f"\n{note}")
    print(f"\nleaderboard: {out / 'leaderboard.md'}, .html and .csv; records: {out / 'records'}")


def _command(options: argparse.Namespace) -> str:
    """The command to repeat; a raw folder is the reader's own, so it is only hinted at."""
    parts = [f"make benchmark DATASET={options.dataset}"]
    if options.data is not None:
        parts.append("DATA=<raw folder>")
    parts.append(f'MODELS="{" ".join(options.models)}"')
    if options.methods:
        parts.append(f'METHODS="{" ".join(options.methods)}"')
    parts.append(f"SEEDS={options.seeds}")
    if options.teacher_seeds is not None:
        parts.append(f"TEACHER_SEEDS={options.teacher_seeds}")
    if options.zoo is not None:
        parts.append("ZOO=<model_zoo folder>")
    if options.teacher_config is not None:
        parts.append(f"TEACHER=<folder of {options.teacher_config.name}>")
    if options.own_sequences:
        parts.append("OWN_SEQUENCES=1")
    if options.dev:
        parts.append("DEV=1")
    return " ".join(parts)
