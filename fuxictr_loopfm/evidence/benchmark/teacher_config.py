"""The teacher's FuxiCTR configuration folder for a prepared data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.folders import load_params
from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.sequence_fields import padding_of
from fuxictr_loopfm.evidence.benchmark.configs import (
    BASE,
    COMMON,
    HIDDEN_UNITS,
    NO_RULE,
    Location,
    dataset_config,
    folder_name,
    how_to_run,
    model_block,
    teacher_dataset_id,
)
from fuxictr_loopfm.evidence.benchmark.yaml_sections import write_sections
from fuxictr_loopfm.prepared.dataset import DatasetSpec
from fuxictr_loopfm.tuning.batch_rule import batch_size_for
from fuxictr_loopfm.tuning.log_rule import LogRule
from fuxictr_loopfm.tuning.space import DATA_KEYS, WIDTHS

TEACHER_MODEL = "DMIN"
TEACHER_SIZE: dict[str, Any] = {"embedding_dim": 16, "hidden_units": [256, 128, 64]}
# How a teacher goes on learning: whoever wants its log says so, in the teacher's own words.
FRESH_KEYS = ("checkpoint", "fresh_epochs", "fresh_lr_factor", "replay", "alignment")


def write_teacher_config(
    folder: Path,
    spec: DatasetSpec,
    where: Location,
    zoos: Sequence[Path],
    model: str,
    settings: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    rule: LogRule = NO_RULE,
) -> str:
    """Write the teacher's configuration folder; returns its expid.

    Args:
        folder: where to write; made if missing.
        spec: the data set.
        where: places of its files.
        zoos: folders to look for the model's own defaults.
        model: its class.
        settings: params that replace the usual ones; ``hidden_units`` whatever the model calls its
            widths, and ``DATA_KEYS``.
        remarks: further lines at the head of ``model_config.yaml``.
        rule: what follows from the log's statistics; settings replace what it says.
    """
    rule = LogRule({**rule.params, **(settings or {})}, rule.most)
    dataset_id = teacher_dataset_id(spec.dataset_id)
    expid = folder_name(model, dataset_id)
    block = model_block(model, TEACHER_SIZE, spec, "teacher", zoos)
    block |= {"dataset_id": dataset_id, "epochs": 2, "shuffle": True}
    block["batch_size"] = batch_size_for(spec, spec.periods.teacher_train)
    view = dataset_config(spec, "teacher", where, padding=padding_of(model), rule=rule)
    for key, value in rule.params.items():
        if key in DATA_KEYS:
            continue
        if key == WIDTHS:
            block |= {name: value for name in HIDDEN_UNITS if name in block}
        else:
            block[key] = value
    title = [f"The teacher's view of {spec.dataset_id}."]
    write_sections(folder / "dataset_config.yaml", title, {dataset_id: view})
    head = [f"Foundation model of {spec.dataset_id}.", *remarks, how_to_run(expid)]
    write_sections(folder / "model_config.yaml", head, {"Base": BASE, expid: block}, expid)
    return expid


def default_settings(spec: DatasetSpec, rule: LogRule) -> dict[str, Any]:
    """What the teacher of a log is without a search, as far as a space may have it.

    Args:
        spec: the data set.
        rule: what follows from the log's statistics.
    """
    return {
        **TEACHER_SIZE,
        "learning_rate": COMMON["learning_rate"],
        "batch_size": batch_size_for(spec, spec.periods.teacher_train),
        **rule.params,
    }


def fresh_keys(folder: Path, expid: str, base_dir: Path) -> dict[str, Any]:
    """The ``loopfm_*`` keys of a teacher's expid that the experiments which want its log share.

    Args:
        folder: the teacher's configuration folder.
        expid: its name there.
        base_dir: what relative paths start from.
    """
    params = load_params(folder, expid, base_dir)
    names = [f"loopfm_{name}" for name in FRESH_KEYS]
    return {name: params[name] for name in names if name in params and name in default_values()}
