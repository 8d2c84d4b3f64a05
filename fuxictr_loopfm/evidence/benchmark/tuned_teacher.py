"""The configurations of a search for a teacher: those of its trials, and the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.configs import Location, folder_name, teacher_dataset_id
from fuxictr_loopfm.evidence.benchmark.generated import generate
from fuxictr_loopfm.evidence.benchmark.locations import location_of
from fuxictr_loopfm.evidence.benchmark.teacher_config import write_teacher_config
from fuxictr_loopfm.pipeline.preparation import whole_id
from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset
from fuxictr_loopfm.tuning.space import Point
from fuxictr_loopfm.tuning.tune import Choice, write_trail


def whole_spec(dev: PreparedDataset) -> DatasetSpec:
    """The description of the whole data set, as far as configurations need it."""
    return replace(dev.spec, dataset_id=whole_id(dev.spec.dataset_id))


@dataclass(frozen=True)
class TrialConfig:
    """Writes the configuration of a trial's teacher, see ``tuning.trial.WriteConfig``.

    Attributes:
        dev: the data set without its test period.
        zoos: folders of models, in order.
    """

    dev: PreparedDataset
    zoos: Sequence[Path]

    def __call__(self, folder: Path, data_root: Path, model: str, settings: Point) -> str:
        """Write it; returns the expid."""
        where = Location(str(data_root.resolve()), str(self.dev.folder.resolve()), None, None)
        spec = whole_spec(self.dev)
        return write_teacher_config(folder, spec, where, self.zoos, model, settings)


def write_choice(
    checkout: Checkout,
    choice: Choice,
    spec: DatasetSpec,
    prepared: Path,
    out: Path,
    zoos: Sequence[Path],
) -> Path:
    """Write the chosen teacher's configuration folder with the trail; returns the folder.

    What was edited in it since an earlier call stays.

    Args:
        checkout: paths start from its ``model_zoo``.
        choice: what was chosen.
        spec: the whole data set's description, of which only id and columns count.
        prepared: where the whole data set is prepared.
        out: gets the folder, named as in ``benchmark_configs``.
        zoos: folders of models, in order.
    """
    base = checkout.base_dir(choice.model).resolve()
    where = location_of(checkout, spec.dataset_id, prepared.absolute(), base)
    folder = out / folder_name(choice.model, teacher_dataset_id(spec.dataset_id))

    def write(target: Path) -> None:
        expid = write_teacher_config(
            target, spec, where, zoos, choice.model, choice.settings, choice.remarks()
        )
        write_trail(target, choice, expid)

    generate(folder, write)
    return folder
