"""What a verification found: lines for the user, and problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fuxictr_loopfm.prepared.dataset import PreparedDataset


@dataclass
class Report:
    """What was checked, and what is wrong.

    Attributes:
        prepared: the data set that artifacts should be of; None if that was not asked.
        every: artifacts of other data sets are wrong, too; else they are left out.
        checked: lines for the user.
        problems: a message each, naming the file and the place.
    """

    prepared: PreparedDataset | None = None
    every: bool = True
    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def compare(self, path: Path, dataset_id: object, dataset_fingerprint: object) -> None:
        """Note if an artifact is of another data set, or of another version of this one."""
        if self.prepared is None or None in (dataset_id, dataset_fingerprint):
            return
        expected = self.prepared.spec.dataset_id
        if dataset_id != expected:
            if self.every:
                self.problems.append(f"{path}: dataset_id: expected {expected}, found {dataset_id}")
        elif dataset_fingerprint != self.prepared.fingerprint:
            self.problems.append(
                f"{path}: dataset_fingerprint: expected {self.prepared.fingerprint}, found "
                f"{dataset_fingerprint}; it was made from other data"
            )
