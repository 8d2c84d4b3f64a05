"""The ``loopfm`` command: a thin skin over the package, one subcommand per stage."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fuxictr_loopfm import __version__
from fuxictr_loopfm.commands import benchmark as benchmark_command
from fuxictr_loopfm.commands import forget as forget_command
from fuxictr_loopfm.commands import options as engine_options
from fuxictr_loopfm.commands import publish as publish_command
from fuxictr_loopfm.commands import rerun as rerun_command
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.exits import one_message

Handler = Callable[[argparse.Namespace], None]


def _prepare(options: argparse.Namespace) -> None:
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.pipeline.preparation import prepare

    prepared = prepare(Checkout.find(), options.dataset, options.data, drop_last_period=options.dev)
    print(prepared.describe())
    print(f"prepared data set: {prepared.folder}")


def _workspace(options: argparse.Namespace) -> Any:
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.config.experiment import Experiment
    from fuxictr_loopfm.pipeline.workspace import Workspace

    checkout = Checkout.find()
    experiment = Experiment.load(
        options.config,
        options.expid,
        base_dir=checkout.base_dir("model"),
        zoo=checkout.zoo,
        gpu=options.gpu,
    )
    return Workspace(experiment, experiment.load_teacher())


def _extract(options: argparse.Namespace) -> None:
    extraction = _workspace(options).extraction_pass
    how = {"engine": options.engine, "workers": options.workers}
    if options.shard is None:
        log = extraction.build(**how)
    else:
        log = extraction.build_share(*options.shard, **how)
    if log is None:
        print(f"share logged, others are missing: {extraction.folder}")
    else:
        print(f"{len(log.event_id)} events logged, dim {log.manifest.dim}: {log.folder}")


def _structure(options: argparse.Namespace) -> None:
    from fuxictr_loopfm.store.describe import describe_store

    workspace = _workspace(options)
    key = workspace.keys.key or workspace.prepared.spec.user
    structuring = workspace.structuring(key)
    how = {
        "engine": options.engine,
        "workers": options.workers,
        "memory_limit": options.memory_limit,
    }
    if options.shard is None:
        structuring.build(**how)
    else:
        missing = structuring.build_share(*options.shard, **how)
        if missing:
            print(f"share built, {len(missing)} others are missing: {structuring.folder}")
            return
    workspace.point(structuring.require_own(), key)
    print(describe_store(structuring.folder))


def _inspect(options: argparse.Namespace) -> None:
    from fuxictr_loopfm.prepared.dataset import PreparedDataset
    from fuxictr_loopfm.store.describe import describe_store

    _require_one_of(options.folder, "dataset.yaml", "manifest.json")
    if (options.folder / "dataset.yaml").is_file():
        print(PreparedDataset.load(options.folder).describe())
    else:
        print(describe_store(options.folder))


def _require_one_of(folder: Path, *names: str) -> None:
    """A folder that was never a store must not be called a broken one, which is to be deleted."""
    if not any((folder / name).is_file() for name in names):
        raise LoopFMError(
            f"{folder}: expected a folder with {' or '.join(names)}, found none. Stores are in "
            "data/artifacts/<dataset>/, prepared data sets in data/prepared/."
        )


def _verify(options: argparse.Namespace) -> None:
    from fuxictr_loopfm.upkeep.verification import verify_folder

    report = verify_folder(options.folder, options.prepared)
    for line in report.checked:
        print(line)
    if report.problems:
        raise LoopFMError("\n".join(report.problems))


def _export(options: argparse.Namespace) -> None:
    from fuxictr_loopfm.runs.export import export_histories

    for path in export_histories(_workspace(options), options.out, options.split):
        print(path)


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="configuration folder")
    parser.add_argument("--expid", required=True, help="a vertical model's experiment")
    parser.add_argument("--gpu", type=int, default=-1, help="GPU index, -1 for the CPU")


def _add_extract(parser: argparse.ArgumentParser) -> None:
    _add_experiment(parser)
    engine_options.add_engine(parser)


def _add_structure(parser: argparse.ArgumentParser) -> None:
    _add_experiment(parser)
    engine_options.add_engine(parser)
    engine_options.add_memory_limit(parser)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="store or prepared data set")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        help="an artifact: prepared data set, encoded view, teacher, extraction log, store, "
        "pointers, records; or a folder of them, such as a whole data root",
    )
    parser.add_argument("--prepared", type=Path, help="prepared data set to check them against")


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_experiment(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--split", nargs="+", default=["train", "test"], choices=["train", "test"])


_EXPID = "--config benchmark_configs/KuaiRandPure_s1/DeepFM_KuaiRandPure_s1 --expid "
_EXPID += "DeepFM_KuaiRandPure_s1_loopfm"
COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None], Handler]] = {
    "prepare": (
        "Make the prepared data set of a public log.",
        "loopfm prepare --dataset KuaiRandPure_s1 --data KuaiRand-Pure/data",
        benchmark_command.add_dataset,
        _prepare,
    ),
    "extract": (
        "Train the teacher if needed and log its embeddings and logits.",
        f"loopfm extract {_EXPID} --workers 2",
        _add_extract,
        _extract,
    ),
    "structure": (
        "Build the event store and the pointers of an experiment.",
        f"loopfm structure {_EXPID} --memory-limit 2GiB",
        _add_structure,
        _structure,
    ),
    "inspect": (
        "Say what is in a store or a prepared data set.",
        "loopfm inspect data/artifacts/KuaiRandPure_s1/store-0123456789abcdef",
        _add_folder,
        _inspect,
    ),
    "verify": (
        "Check artifacts: checksums, whose they are, and a store's causality against the log.",
        "loopfm verify data/artifacts/KuaiRandPure_s1/store-0123456789abcdef "
        "--prepared data/prepared/KuaiRandPure_s1",
        _add_verify,
        _verify,
    ),
    "export": (
        "Write materialised histories for FuxiCTR's own loaders (npz and parquet).",
        f"loopfm export {_EXPID} --out exported",
        _add_export,
        _export,
    ),
    "benchmark": (
        "Run models x methods x seeds on a data set and print the leaderboard.",
        "loopfm benchmark --dataset MovieLens100K_s1 --seeds 3",
        benchmark_command.add_benchmark,
        benchmark_command.run_benchmark,
    ),
    "paper": (
        "Run a table of the LoopFM paper and print ours beside the paper's.",
        "loopfm paper --table 2 --dataset MovieLens100K_s1 --seeds 3",
        benchmark_command.add_paper,
        benchmark_command.run_paper,
    ),
    "leaderboard": (
        "Make a leaderboard from run records.",
        "loopfm leaderboard runs/KuaiRandPure_s1/records --out runs/KuaiRandPure_s1",
        benchmark_command.add_leaderboard,
        benchmark_command.run_leaderboard,
    ),
    "publish": (
        "Put finished runs into benchmark_configs: records, entries, leaderboard, tables.",
        "loopfm publish runs/KuaiRandPure_s1 runs/paper/KuaiRandPure_s1 --fill README.md",
        publish_command.add_options,
        publish_command.run,
    ),
    "rerun": (
        "Run a record again, from the record alone, and compare to the last bit.",
        "loopfm rerun runs/MovieLens100K_s1/records/DeepFM_MovieLens100K_s1_kd-seed2019.json",
        rerun_command.add_options,
        rerun_command.run,
    ),
    "forget": (
        "Delete users from a prepared data set and all its artifacts, or outdated artifacts.",
        "loopfm forget --prepared data/prepared/KuaiRandPure_s1 --artifacts data --user 17",
        forget_command.add_options,
        forget_command.run,
    ),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="loopfm", description="LoopFM for FuxiCTR: a teacher's past embeddings as a feature."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, example, add_options, handler) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, epilog=f"example: {example}"
        )
        add_options(command)
        command.set_defaults(handler=handler)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand; a user's mistake ends with one message and exit code 1."""
    with one_message():
        options = build_parser().parse_args(argv)
        options.handler(options)
