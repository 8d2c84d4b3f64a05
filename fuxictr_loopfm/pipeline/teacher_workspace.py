"""What a teacher's own histories are made of, see ``history_workspace``.

A teacher reads raw columns (ids, labels, ages) of the past events of all periods: that costs no
pass and needs no other teacher. The embeddings in its history are another teacher's, and of the
periods which that one had not learned when it logged them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.pipeline.history_workspace import HistoryWorkspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset


class TeacherWorkspace(HistoryWorkspace):
    """The stores and pointers of a teacher; its samples are the splits ``train`` and ``log``.

    Args:
        teacher: its experiment.
        prepared: the event log.
        view: the teacher's columns.
        root: folder of the data set's artifacts.
        upstream: folder of the complete log of the teacher that ``loopfm_teacher`` names, None if
            the history reads no embeddings.
    """

    def __init__(
        self,
        teacher: Experiment,
        prepared: PreparedDataset,
        view: EncodedView,
        root: Path,
        upstream: Path | None,
    ) -> None:
        super().__init__(teacher)
        self.keys = replace(teacher.keys, backfill=not teacher.keys.reads_embeddings)
        self._prepared, self._view, self._root = prepared, view, root
        self._upstream = upstream

    @property
    def prepared(self) -> PreparedDataset:
        """The event log."""
        return self._prepared

    @property
    def view(self) -> EncodedView:
        """The teacher's feature columns in FuxiCTR ids."""
        return self._view

    @property
    def artifact_root(self) -> Path:
        """Folder of the artifacts of this data set."""
        return self._root

    def logged(self) -> Path:
        """Folder of the other teacher's log.

        Raises:
            ConfigError: there is no other teacher.
        """
        if self._upstream is None:
            raise ConfigError(
                f"{self.experiment.where}: loopfm_teacher: expected the expid of another teacher, "
                "whose past embeddings this one reads, found null"
            )
        return self._upstream
