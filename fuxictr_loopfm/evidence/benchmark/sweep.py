"""A sweep of FuxiCTR's autotuner over ``loopfm_*`` and model keys, and its leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.folders import expids
from fuxictr_loopfm.errors import ConfigError, LoopFMError
from fuxictr_loopfm.evidence.benchmark.dev_sweep import on_dev_data
from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.files.atomic import identity
from fuxictr_loopfm.host.tuner import enumerated, run_grid
from fuxictr_loopfm.records.record import RunRecord, read_records


def sweep(
    config: Path, gpus: Sequence[int], tag: str | None, zoo: Path, *, dev: bool = False
) -> list[RunRecord]:
    """Run a tuner file, or a folder that was enumerated before; print and write the leaderboard.

    Args:
        config: tuner YAML or folder of configurations.
        gpus: one process per entry; repeat -1 for parallel CPU runs.
        tag: only expids that contain it.
        zoo: our ``model_zoo`` folder, whose ``run_expid.py`` runs each point.
        dev: leave the test period out and test on the one before it: for choosing.
    Returns:
        The records that this call made. Those of earlier sweeps of the same name never count.
    Raises:
        ConfigError: no such file, blanks in the path, or no expid has the tag.
        LoopFMError: some points failed; they are named.
    """
    for gpu in gpus:
        require_device(gpu)
    if not config.exists():
        raise ConfigError(
            f"--config {config}: expected a tuner YAML or a folder, found none. Check the path."
        )
    config = config.resolve()
    if any(" " in str(path) for path in (config, zoo)):
        raise ConfigError(
            f"{config}: expected paths without blanks, which FuxiCTR's autotuner cannot handle, "
            "found one. Move the file or the checkout."
        )
    folder = enumerated(config) if config.is_file() else config
    wanted = [expid for expid in expids(folder) if tag is None or tag in expid]
    if not wanted:
        raise ConfigError(
            f"--tag {tag}: expected part of an expid in {folder}, found no match; "
            f"choose among {expids(folder)}"
        )
    if dev:
        folder = on_dev_data(folder, zoo)
    results = zoo / "records" / folder.name
    before = _stamps(results)
    run_grid(folder, gpus, tag, zoo / "run_expid.py")
    made = [path for path, stamp in _stamps(results).items() if before.get(path) != stamp]
    records = [r for r in read_records(made) if r.expid in wanted]
    missing = sorted(set(wanted) - {record.expid for record in records})
    if missing:
        raise LoopFMError(
            f"{folder}: {len(missing)} of {len(wanted)} experiments left no record: {missing}. "
            "Their own messages stand above; the command can be repeated."
        )
    write_leaderboard(records, results)
    print(to_terminal(summarise(records)))
    return records


def _stamps(folder: Path) -> dict[Path, tuple[int, ...]]:
    """The records in a folder, each with what changes when its run is repeated."""
    return {path: identity(path) for path in sorted(folder.glob("*.json"))}
