"""The configurations of a search for a teacher: those of its trials, and the chosen one."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.configs import Location, folder_name, teacher_dataset_id
from fuxictr_loopfm.evidence.benchmark.generated import generate
from fuxictr_loopfm.evidence.benchmark.teacher_config import default_settings, write_teacher_config
from fuxictr_loopfm.pipeline.preparation import whole_id
from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset
from fuxictr_loopfm.tuning.log_rule import LogRule, rule_of
from fuxictr_loopfm.tuning.search import Budget
from fuxictr_loopfm.tuning.space import MODEL, Point, Space
from fuxictr_loopfm.tuning.tune import (
    Choice,
    default_space,
    dev_form_of,
    search,
    write_trail,
)

# A trial of the default teacher takes about a minute for so many events on two cores; a search of
# fewer than three trials chooses nothing.
ROWS_PER_MINUTE = 100_000


def whole_spec(dev: PreparedDataset) -> DatasetSpec:
    """The description of the whole data set, as far as configurations need it."""
    return replace(dev.spec, dataset_id=whole_id(dev.spec.dataset_id))


@dataclass(frozen=True)
class TrialConfig:
    """Writes the configuration of a trial's teacher, see ``tuning.trial.WriteConfig``.

    Attributes:
        dev: the data set without its test period.
        zoos: folders of models, in order.
        rule: what follows from the log's statistics.
    """

    dev: PreparedDataset
    zoos: Sequence[Path]
    rule: LogRule

    def __call__(self, folder: Path, data_root: Path, model: str, settings: Point) -> str:
        """Write it; returns the expid."""
        where = Location(str(data_root.resolve()), str(self.dev.folder.resolve()), None, None)
        spec = whole_spec(self.dev)
        return write_teacher_config(folder, spec, where, self.zoos, model, settings, rule=self.rule)


def write_choice(
    choice: Choice,
    spec: DatasetSpec,
    where: Location,
    out: Path,
    zoos: Sequence[Path],
    rule: LogRule,
) -> Path:
    """Write the chosen teacher's configuration folder with the trail; returns the folder.

    What was edited in it since an earlier call stays.

    Args:
        choice: what was chosen.
        spec: the whole data set's description, of which only id and columns count.
        where: places of its files, from the chosen model's folder in the zoo.
        out: gets the folder, named as in ``benchmark_configs``.
        zoos: folders of models, in order.
        rule: what follows from the log's statistics.
    """
    folder = out / folder_name(choice.model, teacher_dataset_id(spec.dataset_id))

    def write(target: Path) -> None:
        expid = write_teacher_config(
            target, spec, where, zoos, choice.model, choice.settings, choice.remarks(), rule
        )
        write_trail(target, choice, expid)

    generate(folder, write)
    return folder


@dataclass(frozen=True)
class Asked:
    """Which teacher a board is to have where no configuration is committed.

    Attributes:
        model: its class.
        zoos: folders of models, in order.
        minutes: what a search for its settings may cost; 0 for none.
        gpu: GPU index, -1 for the CPU.
    """

    model: str
    zoos: Sequence[Path]
    minutes: float
    gpu: int


def write_default_teacher(
    checkout: Checkout,
    prepared: PreparedDataset,
    asked: Asked,
    spec: DatasetSpec,
    where: Location,
    out: Path,
) -> None:
    """Write the configuration folder of a log's own teacher into ``out``.

    Its settings follow from the log's statistics; a small search may better them.

    Args:
        checkout: whose models are trained.
        prepared: the log; of its test periods nothing is read.
        asked: which teacher.
        spec: the description that the configuration names.
        where: places of its files.
        out: for generated configurations; the search's trials lie beside it.
    """
    rule = rule_of(prepared, "teacher")
    choice = _searched(checkout, prepared, asked, out.with_name("teacher"))
    if choice is not None:
        write_choice(choice, spec, where, out, asked.zoos, rule)
        return
    folder = out / folder_name(asked.model, teacher_dataset_id(spec.dataset_id))
    generate(
        folder,
        lambda target: write_teacher_config(
            target, spec, where, asked.zoos, asked.model, rule=rule
        ),
    )


def _searched(
    checkout: Checkout, prepared: PreparedDataset, asked: Asked, out: Path
) -> Choice | None:
    """The choice of a small search; None where there is no time, space or period for one."""
    path = default_space(checkout)
    if asked.minutes <= 0 or not path.is_file() or len(prepared.spec.periods.vertical_train) < 2:
        return None
    if prepared.spec.rows > ROWS_PER_MINUTE * asked.minutes:
        wanted = math.ceil(prepared.spec.rows / ROWS_PER_MINUTE)
        print(
            f"No search for the teacher's settings: {prepared.spec.rows:,} events ask for "
            f"{wanted} minutes or more (--teacher-minutes), found {asked.minutes:g}. They follow "
            "from the log's statistics.",
            file=sys.stderr,
        )
        return None
    print(
        f"No teacher is committed: search its settings for {asked.minutes:g} minutes, without the "
        "test period (--teacher-minutes 0 skips this)",
        file=sys.stderr,
    )
    dev = dev_form_of(prepared, out)
    rule = rule_of(dev, "teacher")
    start = {MODEL: asked.model, **default_settings(dev.spec, rule)}
    space = Space.read(path).starting_with(start)
    only = Space({**space.values, MODEL: (asked.model,)}, space.where)
    write = TrialConfig(dev, asked.zoos, rule)
    return search(checkout, dev, only, Budget(asked.minutes), out, write=write, gpu=asked.gpu)
