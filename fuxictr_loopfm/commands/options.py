"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.engine import ENGINES

if TYPE_CHECKING:
    from fuxictr_loopfm.pipeline.workspace import Workspace

# A vertical model's experiment, for the examples of the help.
EXPERIMENT_EXAMPLE = (
    "--config benchmark_configs/KuaiRandPure_s1/DeepFM_KuaiRandPure_s1 "
    "--expid DeepFM_KuaiRandPure_s1_loopfm"
)
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """``--config``, ``--expid`` and ``--gpu``: which experiment, and where it runs."""
    parser.add_argument("--config", type=user_path, required=True, help="configuration folder")
    parser.add_argument("--expid", required=True, help="a vertical model's experiment")
    add_gpu(parser)


def workspace(options: argparse.Namespace) -> Workspace:
    """The artifacts of the experiment that ``add_experiment`` asked for.

    Raises:
        ConfigError: see ``Project.load``.
    """
    from fuxictr_loopfm.config.project import Project
    from fuxictr_loopfm.pipeline.workspace import Workspace

    project = Project.of_config(options.config)
    experiment = project.load(options.config, options.expid, gpu=options.gpu)
    return Workspace(experiment, experiment.load_teacher())


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """``--dataset``, ``--data`` and ``--dev``: which data set, and where its files are."""
    parser.add_argument("--dataset", required=True, help="data set id, e.g. KuaiRandPure_s1")
    parser.add_argument("--data", type=user_path, help="raw folder, or a prepared one")
    parser.add_argument(
        "--dev",
        action="store_true",
        help="leave the test period out and test on the last training period: for choosing "
        "hyper-parameters",
    )


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """``--seeds``."""
    parser.add_argument("--seeds", type=at_least_one, default=5, help="number of seeds (default 5)")


def add_teacher_seeds(parser: argparse.ArgumentParser) -> None:
    """``--teacher-seeds``."""
    parser.add_argument(
        "--teacher-seeds",
        type=at_least_one,
        help="teachers that take turns with the seeds (default: one teacher per seed; 1 is the "
        "fastest, and leaves out how much a teacher's own seed changes)",
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """``--jobs``."""
    parser.add_argument(
        "--jobs",
        type=at_least_one,
        help="runs at a time, each a process of its own (default: what cores and memory hold)",
    )


def add_zoo(parser: argparse.ArgumentParser) -> None:
    """``--zoo``."""
    parser.add_argument("--zoo", type=user_path, help="a FuxiCTR clone's model_zoo")


def add_gpu(parser: argparse.ArgumentParser) -> None:
    """``--gpu``."""
    parser.add_argument("--gpu", type=int, default=-1, help="GPU index, -1 for the CPU")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """``--engine``, ``--workers`` and ``--shard``: who does the work, and which share of it."""
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="who does the work")
    parser.add_argument("--workers", type=at_least_one, default=1, help="of the engine (default 1)")
    parser.add_argument(
        "--shard", type=share, metavar="i/n", help="do only the i-th of n shares of the work"
    )


def engine_of(options: argparse.Namespace) -> dict[str, Any]:
    """What ``add_engine`` asked for, as the passes take it."""
    return {"engine": options.engine, "workers": options.workers}


def add_memory_limit(parser: argparse.ArgumentParser) -> None:
    """``--memory-limit``."""
    parser.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="sort out of core beyond this, for example 2GiB, at least 64MiB for each worker; the "
        "bytes of the store are the same",
    )


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text!r}")
    return int(text)


def share(text: str) -> tuple[int, int]:
    """(i, n) of ``i/n``, the i-th of n shares."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, found {text!r}")
    return int(number), int(count)


def size_in_bytes(text: str) -> int:
    """Bytes of a number with a unit, ``512MiB`` or ``2GiB``."""
    from fuxictr_loopfm.structuring.reading import LEAST_LIMIT

    for power, unit in enumerate(_UNITS, 1):
        number = text.removesuffix(unit)
        if number != text and number.isdecimal():
            size = int(number) << (10 * power)
            if size < LEAST_LIMIT:
                least = f"{LEAST_LIMIT >> 20}MiB"
                raise argparse.ArgumentTypeError(f"expected at least {least}, found {text!r}")
            return size
    raise argparse.ArgumentTypeError(f"expected a size like 512MiB or 2GiB, found {text!r}")
