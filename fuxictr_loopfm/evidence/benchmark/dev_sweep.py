"""Sweeps that choose hyper-parameters: on data sets that leave their test period out."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import datasets, expids
from fuxictr_loopfm.config.project import Project
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import write_text
from fuxictr_loopfm.pipeline.preparation import prepare
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.dev_form import dev_id

DATASET_CONFIG = "dataset_config"


def on_dev_data(folder: Path, zoo: Path) -> Path:
    """Copy a configuration folder to ``<folder>_dev``, whose data sets leave their test period out.

    Args:
        folder: configuration folder.
        zoo: our ``model_zoo`` folder.
    Returns:
        The copy.
    Raises:
        ConfigError: an experiment has no prepared data set, or none without its test period.
        DataError: the preparation failed.
    """
    project = Project.of_script(zoo / "run_expid.py")
    entries = datasets(folder)
    done: set[str] = set()
    for expid in expids(folder):
        experiment = project.load(folder, expid)
        name = experiment.params["dataset_id"]
        if name not in done:
            entries[name] = {**entries[name], "loopfm_prepared": str(_dev_data(experiment, zoo))}
            done.add(name)
    target = folder.with_name(f"{folder.name}_dev")
    ignored = shutil.ignore_patterns(f"{DATASET_CONFIG}*")
    shutil.copytree(folder, target, ignore=ignored, dirs_exist_ok=True)
    write_text(target / f"{DATASET_CONFIG}.yaml", yaml.safe_dump(entries, sort_keys=False))
    return target


def _dev_data(experiment: Experiment, zoo: Path) -> Path:
    """The prepared data set without its last period, made if a script of the checkout can."""
    keys = experiment.keys
    if keys.prepared is None:
        raise ConfigError(
            f"{experiment.where}: loopfm_prepared: --dev leaves out the last period of a prepared "
            "data set, found null. Without one, choose on valid_data."
        )
    whole = Path(keys.prepared)
    is_made = (whole / "dataset.yaml").is_file()
    dataset_id = PreparedDataset.load(whole).spec.dataset_id if is_made else whole.name
    checkout = Checkout(zoo.parent)
    if dataset_id in checkout.scripts():
        raw = Path(keys.raw_data) if keys.raw_data and Path(keys.raw_data).exists() else None
        return prepare(checkout, dataset_id, raw, drop_last_period=True).folder.resolve()
    dev = whole.with_name(dev_id(dataset_id))
    if not (dev / "dataset.yaml").is_file():
        raise ConfigError(
            f"{experiment.where}: loopfm_prepared: --dev: expected {dataset_id} without its last "
            f"period in {dev}, found none. Prepare it there with --drop-last-period."
        )
    return dev
