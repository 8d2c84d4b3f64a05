"""Takes the configurations that published entries lack from the results folders of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.folders import read_yaml
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.records.record import RunRecord

DATASET, MODEL = "dataset_config.yaml", "model_config.yaml"
_TEACHER = "loopfm_teacher_config"


def missing_configuration(
    checkout: Checkout, dataset_id: str, entries: Sequence[str], results: Sequence[Path]
) -> dict[Path, str]:
    """Texts, by path, of the configuration files that entries of a data set lack.

    Args:
        checkout: whose ``benchmark_configs`` the entries lie in.
        dataset_id: of the data set.
        entries: names of the entries' folders.
        results: folders of runs, which keep the configurations they generated.

    Raises:
        ConfigError: an entry's file is neither committed nor among the results.
    """
    folder = checkout.configs(dataset_id)
    pages = {}
    for name in entries:
        for file in (DATASET, MODEL):
            if not (folder / name / file).is_file():
                pages[folder / name / file] = _text(folder, dataset_id, name, file, results)
    return pages


def missing_teachers(
    checkout: Checkout, dataset_id: str, runs: Sequence[RunRecord], results: Sequence[Path]
) -> dict[Path, str]:
    """Texts, by path, of the teachers' configurations that only the results have.

    Args:
        checkout, dataset_id, results: as ``missing_configuration`` takes them.
        runs: whose teachers these are.
    """
    folder = checkout.configs(dataset_id)
    names = {str(run.config.get("loopfm_teacher")) for run in runs}
    pages = {}
    for path in results:
        for source in sorted((path / "configs").glob("*/*_config.yaml")):
            page = folder / source.parent.name / source.name
            if source.parent.name in names and not page.is_file():
                pages[page] = source.read_text(encoding="utf-8")
    return pages


def _text(folder: Path, dataset_id: str, name: str, file: str, results: Sequence[Path]) -> str:
    places = [path / "configs" / name / file for path in results]
    if file == DATASET:
        # Paths in a results folder are those of the place it ran in; another entry's are ours.
        places = [*sorted(folder.glob(f"*_{dataset_id}/{DATASET}")), *places]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(
            f"{folder / name}: expected {file}, found none there nor in "
            f"{[str(path / 'configs' / name) for path in results]}; give the results folder of "
            "its runs"
        )
    text = found.read_text(encoding="utf-8")
    named = [section.get(_TEACHER) for section in read_yaml(found).values() if section]
    for path in sorted(filter(None, named)):
        # In the text, not in the mapping: merges and remarks stay as they were written.
        place = f"../../benchmark_configs/{dataset_id}/{Path(path).name}"
        text = text.replace(f"{_TEACHER}: {path}", f"{_TEACHER}: {place}")
    return text
