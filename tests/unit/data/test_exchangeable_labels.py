"""gAUC of past labels that say nothing: 0.5, once the labels of the compared rows are unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.unit.store.tiny_store import build

USERS, EVENTS = 400, 12


def shares(source: HistorySource, rows: np.ndarray) -> np.ndarray:
    """Share of clicks among the past labels that are known: 1 is no click, 2 a click, 0 unknown."""
    batch = source.batch(rows)
    own = np.repeat(np.arange(len(rows)), batch.spans.length.numpy())
    label = batch.label.numpy()
    known = np.bincount(own[label > 0], minlength=len(rows))
    clicks = np.bincount(own[label == 2], minlength=len(rows))
    return (clicks + 0.5) / (known + 1)


def test_labels_that_are_exchangeable_inside_users_have_a_gauc_of_one_half(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    user = np.tile(np.arange(USERS), EVENTS)
    time = np.repeat(np.arange(EVENTS), USERS) * 10
    # Half of each user's labels are clicks, in random order: no row is likelier than another.
    label = random.permuted(np.tile([0, 1], (USERS, EVENTS // 2)), axis=1).T.ravel()
    build(
        tmp_path / "store",
        key=user,
        timestamp=time,
        event_id=np.arange(len(user)),
        codes=np.zeros((len(user), 2), np.uint8),
        logit=np.zeros(len(user), np.float32),
        side={"label": label.astype(np.int8)},
    )
    store, spec = EventStore.open(tmp_path / "store"), SequenceSpec(max_len=EVENTS)
    first = EVENTS // 2 * USERS
    rows = np.arange(first, USERS * EVENTS)
    pointers = build_pointers(store, user[rows], time[rows], spec)
    source = HistorySource(
        store, pointers, None, sample_time=time[rows], spec=spec, columns=("label",),
        first_event=first,
    )  # fmt: skip
    live = evaluate(label[rows], shares(source, rows), user[rows])["gAUC"]
    source.forget_labels_from(first)
    frozen = evaluate(label[rows], shares(source, rows), user[rows])["gAUC"]
    assert live < 0.3, "a later row's history holds the labels of the rows it is compared with"
    assert frozen == pytest.approx(0.5, abs=0.02)
