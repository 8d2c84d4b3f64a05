"""The command behind every ``run_expid.py``: one expid, with whatever artifacts it lacks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.config.project import Project
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.exits import one_message
from fuxictr_loopfm.host import distributed
from fuxictr_loopfm.host.run_log import append_result_line, start_log
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.record import write_record
from fuxictr_loopfm.runs.plain import run_plain
from fuxictr_loopfm.runs.teacher import run_teacher
from fuxictr_loopfm.runs.vertical import run_vertical


def run(script: Path | str, config: str, expid: str, gpu: int) -> None:
    """Run ``expid``; append FuxiCTR's result line and write a JSON record beside it.

    Under ``torchrun`` every process calls this; rank 0 alone logs and writes.

    Args:
        script: the calling ``run_expid.py``. Models are found beside it, see ``Project``; result
            line and record go into its folder, as in FuxiCTR.
        config: configuration folder, see ``found_config``.
        expid: the experiment.
        gpu: GPU index, -1 for the CPU.

    Raises:
        LoopFMError: anything the user can mend.
    """
    script = Path(script).resolve()
    config = str(found_config(config, script.parent))
    is_chief = distributed.rank() == 0
    experiment = Project.of_script(script).load(
        config, expid, gpu=gpu, overrides=None if is_chief else {"verbose": 0}
    )
    _require_one_process_unless_vertical(experiment)
    start_log(experiment.params, to_file=is_chief)
    launcher = distributed.launcher()
    command = f"{launcher} {script.name} --config {config} --expid {expid} --gpu {gpu}"
    values: Mapping[str, Mapping[str, float]]
    if experiment.keys.prepared is None:
        record, values = run_plain(experiment, command=command)
    elif experiment.keys.view == "teacher":
        own = replace(experiment, upstream=experiment.load_teacher())
        record, values = run_teacher(own, command=command)
    else:
        workspace = Workspace(experiment, experiment.load_teacher())
        record, values, _ = run_vertical(
            experiment, workspace, model_name=experiment.params["model"], command=command
        )
    if not is_chief:
        return
    name = Path(config).resolve().name.removesuffix(".yaml")
    write_record(script.parent / "records" / name, record)
    metrics = list(experiment.params["metrics"])
    dataset_id = experiment.params["dataset_id"]
    append_result_line(script.parent / f"{name}.csv", expid, dataset_id, values, metrics)


def found_config(config: str, folder: Path) -> Path:
    """The configuration folder that an option means, absolute.

    A relative one counts from where the user stands; only what is not there is looked for beside
    the script, where FuxiCTR's scripts, which change to their own folder first, would look.

    Args:
        config: as given; ``~`` is the home folder.
        folder: of the script.
    """
    given = user_path(config)
    beside = folder / given
    return (beside if not given.exists() and beside.exists() else given).absolute()


def _require_one_process_unless_vertical(experiment: Experiment) -> None:
    if distributed.world_size() == 1:
        return
    if experiment.keys.prepared is None or experiment.keys.view == "teacher":
        raise ConfigError(
            f"torchrun: {experiment.expid}: expected a vertical model of a prepared data set, "
            f"found loopfm_view={experiment.keys.view} and "
            f"loopfm_prepared={experiment.keys.prepared}. Run it with python instead."
        )


def main(script: str, argv: Sequence[str] | None = None) -> None:
    """Parse FuxiCTR's three options and run.

    Args:
        script: the path of the calling ``run_expid.py``, its ``__file__``.
        argv: the words after the script's name; None takes those of this process.

    Raises:
        SystemExit: it did not work; one message was printed, see ``exits``.
    """
    parser = argparse.ArgumentParser(
        description="Train and test one expid; builds the teacher, its log, the event store and "
        "the pointers where they are missing and reuses what exists.",
        epilog="example: python run_expid.py --config ../../benchmark_configs/KuaiRandPure_s1/"
        "DeepFM_KuaiRandPure_s1 --expid DeepFM_KuaiRandPure_s1_kd_loopfm --gpu -1",
    )
    parser.add_argument("--config", default="./config/", help="configuration folder")
    parser.add_argument("--expid", default="DeepFM_test", help="experiment to run")
    parser.add_argument("--gpu", type=int, default=-1, help="GPU index, -1 for the CPU")
    with one_message():
        options = parser.parse_args(argv)
        with distributed.joined(options.gpu) as gpu:
            run(script, options.config, options.expid, gpu)
