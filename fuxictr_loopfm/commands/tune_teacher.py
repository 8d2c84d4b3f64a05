"""``loopfm tune-teacher``: a teacher's hyper-parameters, chosen without the test period."""

from __future__ import annotations

import argparse
from pathlib import Path

from fuxictr_loopfm.commands.options import add_gpu, add_zoo, at_least_one
from fuxictr_loopfm.config.paths import user_path

SUMMARY = "Choose a teacher's hyper-parameters on the periods before the test."
EXAMPLE = "loopfm tune-teacher --dataset MovieLens100K_s1 --minutes 20"
MINUTES = 20.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """A data set, the space, and what the search may cost."""
    parser.add_argument("--dataset", required=True, help="data set id, e.g. KuaiRandPure_s1")
    parser.add_argument("--data", type=user_path, help="raw folder, or a prepared one")
    parser.add_argument(
        "--space",
        type=user_path,
        help="YAML file with lists of values under tuner_space (default "
        "benchmark_configs/teacher_space.yaml)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes",
        type=float,
        help=f"no trial begins after so many minutes of trials (default {MINUTES:g}); those of "
        "earlier calls count",
    )
    budget.add_argument("--trials", type=at_least_one, help="so many trials at most")
    parser.add_argument("--seed", type=int, default=2019, help="of all trainings (default 2019)")
    parser.add_argument("--out", type=user_path, help="folder (default runs/tuned/<dataset>)")
    add_zoo(parser)
    add_gpu(parser)


def run(options: argparse.Namespace) -> None:
    """Search, write the chosen configuration and the trail, and say how to use it."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.config.device import require_device
    from fuxictr_loopfm.evidence.benchmark.locations import location_of
    from fuxictr_loopfm.evidence.benchmark.runner import log_to_file
    from fuxictr_loopfm.evidence.benchmark.teacher_config import default_settings
    from fuxictr_loopfm.evidence.benchmark.tuned_teacher import (
        TrialConfig,
        whole_spec,
        write_choice,
    )
    from fuxictr_loopfm.tuning.log_rule import rule_of
    from fuxictr_loopfm.tuning.search import Budget
    from fuxictr_loopfm.tuning.space import Space
    from fuxictr_loopfm.tuning.tune import default_space, dev_form, search

    require_device(options.gpu)
    checkout = Checkout.find()
    space = Space.read(options.space or default_space(checkout))
    out = options.out or Path("runs") / "tuned" / options.dataset
    log_to_file(out / "tune.log")
    dev, prepared = dev_form(checkout, options.dataset, options.data, out)
    minutes = MINUTES if options.trials is None and options.minutes is None else options.minutes
    zoos = [checkout.zoo, *([options.zoo] if options.zoo else [])]
    rule = rule_of(dev, "teacher")
    choice = search(
        checkout,
        dev,
        space.starting_with(default_settings(dev.spec, rule)),
        Budget(minutes, options.trials),
        out,
        write=TrialConfig(dev, zoos, rule),
        seed=options.seed,
        gpu=options.gpu,
    )
    base = checkout.base_dir(choice.model).resolve()
    where = location_of(checkout, options.dataset, prepared.absolute(), base)
    folder = write_choice(choice, whole_spec(dev), where, out, zoos, rule)
    for line in choice.summary():
        print(line)
    print(f"\nwritten: {folder} (the trials are in its trail.csv)")
    print(f"use it:  loopfm benchmark --dataset {options.dataset} --teacher-config {folder}")
    print(f"keep it: cp -r {folder} {checkout.configs(options.dataset)}/")
