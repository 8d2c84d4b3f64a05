"""A teacher that goes on learning: it logs a period, learns it once that is over, and so on.

::

    teacher's periods     log 5    learn 5, align    log 6    learn 6, align    log 7   ...
    -----------------> |--------|----------------|--------|----------------|--------|
                       |        a checkpoint is kept before each period that is logged

A period is learned only when every row of it is over and, with a label delay, when its youngest
label is known: before the first period that begins later than that. So nothing that is logged knows
a label that production would not have had. The last period is learned by nobody.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuxictr_loopfm.alignment.alignment import Alignment
from fuxictr_loopfm.alignment.alignments import build_alignment
from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.errors import ProvenanceError
from fuxictr_loopfm.extraction.extractor import EVENT_ID
from fuxictr_loopfm.extraction.parts import Part
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.host.trainer import train_epochs
from fuxictr_loopfm.host.training_state import (
    load_training_state,
    set_learning_rate,
    training_state,
)
from fuxictr_loopfm.pipeline.extraction_files import calibration_rows
from fuxictr_loopfm.pipeline.extraction_task import embed, finished_part, log_parts
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.part_record import PartRecord, finished_file, record_path

# Enough for a map of a few dozen dimensions; each checkpoint embeds them anew.
ANCHOR_ROWS = 20_000
_STATE_VERSION = 1
_TEACHER, _COMPRESSOR = "teacher.", "compressor."


class ContinualPass:
    """Fills an extraction folder period by period with a teacher that learns in between.

    Args:
        run: the teacher, trained on its own periods.
        folder: the extraction folder, with its calibration rows.
        parts: everything to be logged, in order.
    """

    def __init__(self, run: TeacherRun, folder: Path, parts: Sequence[Part]) -> None:
        self.run, self.folder = run, folder
        self.parts: dict[int, list[Part]] = {}
        for part in parts:
            self.parts.setdefault(part.period, []).append(part)
        self.periods = sorted(self.parts)
        self.lessons = lessons(run, self.periods)
        self.alignment: Alignment = build_alignment(run.keys.alignment, run.keys.alignment_options)

    def build(self) -> None:
        """Log what is missing; a pass that was killed goes on at its last checkpoint."""
        if all(self._is_logged(period) for period in self.periods):
            return
        run = self.run
        run.restart()
        set_learning_rate(run.model, run.teacher.params["learning_rate"] * run.keys.fresh_lr_factor)
        if run.compressor is not None:
            self.alignment.begin(run.compressor, self._weights())
        first = self._resumed()
        with TapRecorder(run.model, run.taps()) as recorder:
            for period in self.periods[self.periods.index(first) :]:
                if self.lessons[period] and period != first:
                    for past in self.lessons[period]:
                        self._learn(past, recorder)
                    self.alignment.learned(self._weights())
                    self._align(recorder)
                    self._keep(period)
                self._log(period, recorder)

    def clear(self) -> None:
        """Delete the checkpoints, which a finished log needs no longer."""
        for period in self.periods:
            self._discard(period)

    def _is_logged(self, period: int) -> bool:
        return all(finished_part(self.run, self.folder, part) for part in self.parts[period])

    def _resumed(self) -> int:
        """The period to go on with, from its checkpoint; the first one without any."""
        for place in range(len(self.periods) - 1, 0, -1):
            period, path = self.periods[place], self._state_path(self.periods[place])
            logged = all(map(self._is_logged, self.periods[:place]))
            if logged and finished_file(path, self._meta) is not None:
                logging.info("Go on with period %d at %s", period, path.name)
                self._load(path)
                return period
        return self.periods[0]

    def _learn(self, period: int, recorder: TapRecorder) -> None:
        run, keys = self.run, self.run.keys
        logged = self._logged_embeddings(period) if self.alignment.needs_logged else None
        batches: Any = run.batches_of_period(period)
        if keys.replay > 0:
            batches = _Mixed(batches, self._replayed(period), keys.replay)

        def after_step(batch: Mapping[str, Any]) -> None:
            if run.compresses_beside and run.compressor is not None:
                label = run.model.get_labels(batch).view(-1)
                known = None if logged is None else logged.of(batch)
                self.alignment.step(run.compressor, recorder.read(), label, known)

        train_epochs(run.model, batches, epochs=keys.fresh_epochs, after_step=after_step)

    def _replayed(self, period: int) -> Any:
        """Rows of one earlier period, drawn by the number of the one that is learned."""
        run = self.run
        earlier = sorted({n for n in (*run.train_periods, *self.periods) if n < period})
        random = np.random.default_rng([run.teacher.params["seed"], period])
        batches = run.batches_of_period(int(random.choice(earlier)), shuffle=True)
        batches.epoch = period  # another order each time
        return batches

    def _align(self, recorder: TapRecorder) -> None:
        """Fit what the alignment needs on rows of the teacher's last training period."""
        if not self.alignment.needs_anchors:
            return
        run = self.run
        first = calibration_rows(self.folder)[:ANCHOR_ROWS]
        rows = embed(run, recorder, max(run.train_periods), 0, len(first))
        newest = np.concatenate([batch.embedding for batch in rows])
        self.alignment.fit(torch.from_numpy(np.array(first)), torch.from_numpy(newest))

    def _log(self, period: int, recorder: TapRecorder) -> None:
        mean = self.alignment.logs_with()
        newest: dict[str, Tensor] = {}
        if mean is not None:
            newest = {name: value.clone() for name, value in self._weights().items()}
            self._load_weights(mean)
        log_parts(self.run, recorder, self.folder, self.parts[period], self._encode)
        if mean is not None:
            self._load_weights(newest)

    def _encode(self, activation: Tensor) -> Tensor:
        return self.alignment.apply(self.run.encode(activation))

    def _logged_embeddings(self, period: int) -> _Logged:
        records = (finished_part(self.run, self.folder, part) for part in self.parts[period])
        read = [ExtractionLog.read_part(self.folder, record) for record in records if record]
        event_id, embedding = (np.concatenate(part) for part in zip(*read, strict=True))
        return _Logged(int(event_id[0]), torch.from_numpy(embedding))

    def _weights(self) -> dict[str, Tensor]:
        """Of the teacher and, if it has some, of the compressor."""
        found = {f"{_TEACHER}{name}": v for name, v in self.run.model.state_dict().items()}
        compressor = self.run.compressor
        if isinstance(compressor, CoTrainer):
            found |= {f"{_COMPRESSOR}{name}": v for name, v in compressor.state_dict().items()}
        return found

    def _load_weights(self, weights: Mapping[str, Tensor]) -> None:
        run = self.run
        run.model.load_state_dict(_below(weights, _TEACHER))
        if isinstance(run.compressor, CoTrainer):
            run.compressor.autoencoder.load_state_dict(_below(weights, _COMPRESSOR))

    @property
    def _meta(self) -> dict[str, Any]:
        return {"log": self.run.log_fingerprint, "version": _STATE_VERSION}

    def _state_path(self, period: int) -> Path:
        return self.folder / f"checkpoint-{period:04d}.pt"

    def _keep(self, period: int) -> None:
        """Write what the pass needs to log this period and go on; the former checkpoint goes."""
        run = self.run
        compressor = {} if run.compressor is None else run.compressor.training_state()
        if compressor is None:
            return
        state = {
            "teacher": training_state(run.model),
            "compressor": compressor,
            "alignment": self.alignment.state(),
        }
        buffer, path = io.BytesIO(), self._state_path(period)
        torch.save(state, buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        PartRecord.write(path, 0, self._meta)
        for earlier in self.periods:
            if earlier < period:
                self._discard(earlier)

    def _load(self, path: Path) -> None:
        run = self.run
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            load_training_state(run.model, state["teacher"])
            if run.compressor is not None:
                run.compressor.load_training_state(state["compressor"])
            self.alignment.load_state(state["alignment"])
        except Exception as error:  # torch raises half a dozen types for damaged files
            raise ProvenanceError(
                f"{path}: expected a checkpoint of this teacher, found a damaged or foreign file "
                f"({error}). Delete {self.folder} to log again."
            ) from error

    def _discard(self, period: int) -> None:
        path = self._state_path(period)
        record_path(path).unlink(missing_ok=True)  # first: without it the file does not count
        path.unlink(missing_ok=True)


def lessons(run: TeacherRun, periods: Sequence[int]) -> dict[int, list[int]]:
    """For each logged period the earlier ones that are learned just before it.

    Args:
        run: the teacher.
        periods: what is logged, rising.
    """
    prepared = run.prepared
    delay = known_after(run)
    pending = [period for period in periods if period not in run.train_periods]
    found: dict[int, list[int]] = {}
    for period in periods:
        begins = int(prepared.timestamp[prepared.rows_of((period,)).start])
        found[period] = []
        while pending and pending[0] < period:
            ended = int(prepared.timestamp[prepared.rows_of((pending[0],)).stop - 1])
            # Without a delay a label is known with its impression; see ``SequenceSpec``.
            if delay > 0 and not begins - ended > delay:
                break
            found[period].append(pending.pop(0))
    return found


def known_after(run: TeacherRun) -> int:
    """Units of the log's time until a label is known: the longer of what both experiments say."""
    spec = run.prepared.spec
    rules = (keys.sequence_spec(spec.time_unit, spec.known_columns) for keys in run.both_keys)
    return max(rule.label_delay for rule in rules)


@dataclass(frozen=True)
class _Logged:
    """What was logged for the rows of one period.

    Attributes:
        first: event_id of the first.
        embedding: (n, d) of it and those that follow.
    """

    first: int
    embedding: Tensor

    def of(self, batch: Mapping[str, Any]) -> Tensor | None:
        """(B, d) of a batch's rows, None if they are of another period."""
        place = torch.as_tensor(batch[EVENT_ID]).reshape(-1).long() - self.first
        if not 0 <= int(place.min()) <= int(place.max()) < len(self.embedding):
            return None
        return self.embedding[place]


class _Mixed:
    """Batches in their order, with others spread evenly among them.

    Args:
        batches: all of them are delivered.
        others: delivered as far as ``share`` goes.
        share: how many others for each of the batches.
    """

    def __init__(self, batches: Any, others: Any, share: float) -> None:
        self.batches, self.others, self.share = batches, others, share

    def __len__(self) -> int:
        return len(self.batches) + min(int(len(self.batches) * self.share), len(self.others))

    def __iter__(self) -> Iterator[Any]:
        others, taken = iter(self.others), 0
        for number, batch in enumerate(self.batches, 1):
            yield batch
            while taken < min(int(number * self.share), len(self.others)):
                taken += 1
                yield next(others)


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}
