"""Deleting a user: nothing of theirs is left in any file, everything else is as it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Loop, new_loop
from planted import USERS, log_frame, log_spec, write_configs, write_log

from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.compression.quantizer import codec_from_dict
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.methods import method_slug
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs.export import export_histories
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.verify import verify_store
from fuxictr_loopfm.upkeep import forget
from fuxictr_loopfm.upkeep.forget import forget_outdated, forget_users

USER = "Ωmega-füñfzehn"
RULE = SequenceSpec(max_len=8)


@dataclass(frozen=True)
class Deployed:
    """Everything that a data set is made into."""

    root: Path
    prepared: Path
    artifacts: Path

    @property
    def stores(self) -> list[Path]:
        return sorted(path.parent for path in self.artifacts.glob("store-*/manifest.json"))

    @property
    def folders(self) -> list[Path]:
        return [self.root / "data", self.root / "exported"]

    def forget(self, *users: str, **options: Any) -> forget.Forgotten:
        return forget_users(self.prepared, users or (USER,), self.folders, **options)


def build_everything(root: Path) -> Deployed:
    frame = log_frame()
    frame["user_id"] = frame["user_id"].replace("u17", USER)
    loop: Loop = new_loop(root, write_log(root / "data" / "prepared" / "Planted_s1", frame))
    _, workspace = loop.load(method_slug("LoopFM"), loopfm_num_shards=3)
    for key in ("user_id", "item_id"):
        workspace.point(workspace.structuring(key).build(), key)
    export_histories(workspace, root / "exported", ["test"])
    return Deployed(root, loop.prepared.folder, loop.artifacts)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Read only."""
    return build_everything(tmp_path_factory.mktemp("built"))


@pytest.fixture
def deployed(built: Deployed, tmp_path: Path) -> Deployed:
    shutil.copytree(built.root, tmp_path / "own", symlinks=True)
    own = tmp_path / "own"
    return Deployed(own, *(own / path.relative_to(built.root)
                           for path in (built.prepared, built.artifacts)))  # fmt: skip


def unpacked(path: Path) -> str:
    """A file's texts, however they are packed: parquet with its statistics, h5, JSON escapes."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            described = [str(file.metadata.row_group(group).to_dict()) for group in groups]
            return "".join([*described, str(file.metadata.metadata), str(file.read().to_pydict())])
    if path.suffix == ".h5":
        found: list[str] = []
        with h5py.File(path) as file:
            file.visititems(lambda _, item: found.extend(_h5_texts(item)))
        return "\n".join(found)
    return path.read_text() if path.suffix in (".json", ".yaml") else ""


def _h5_texts(item: Any) -> list[str]:
    if isinstance(item, h5py.Dataset) and item.dtype.kind == "S":
        return [value.decode("utf-8", errors="replace") for value in item[:].ravel()]
    return []


def files_with(text: str, root: Path) -> list[str]:
    """Files under ``root`` that hold the text anywhere, or have it in their name."""
    spellings = (text.encode("utf-8"), json.dumps(text)[1:-1].encode())
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
        if any(spelling in path.read_bytes() for spelling in spellings)
        or text in unpacked(path) + path.name
    ]


def histories(store: Path, prepared: PreparedDataset) -> dict[Any, Any]:
    """Content of every sample's history: times, codes, decoded embeddings, logits, labels."""
    opened = EventStore.open(store)
    key = opened.manifest.key
    pointers = build_pointers(opened, prepared.array(key), prepared.timestamp, RULE)
    frame = prepared.frame(["user_id", "item_id", "timestamp", "click", "price"])
    users = opened_users(opened, prepared)
    codec = codec_from_dict(opened.manifest.codec)
    found = {}
    for row, (end, length) in enumerate(zip(pointers.end, pointers.length, strict=True)):
        span = slice(int(end) - int(length), int(end))
        found[tuple(frame.iloc[row])] = [
            (opened.timestamp[at], users[at], opened.codes[at].tobytes(), opened.logit[at],
             int(opened.side["label"][at]), codec.decode(opened.codes[at : at + 1]).tobytes())
            for at in range(span.start, span.stop)
        ]  # fmt: skip
    return found


def opened_users(store: EventStore, prepared: PreparedDataset) -> np.ndarray:
    users = prepared.array("user_id")[store.event_id]
    users[0] = None
    return users


def test_no_file_holds_the_user_and_all_else_is_as_it_was(deployed: Deployed) -> None:
    before = PreparedDataset.load(deployed.prepared)
    frame, sequence = before.frame(), before.sequence("item_his")
    tokens = [sequence[0][end - n : end].tolist() for end, n in zip(*sequence[1:], strict=True)]
    stored = {path: histories(path, before) for path in deployed.stores}
    keyed = {path: EventStore.open(path).manifest.key for path in deployed.stores}
    assert sorted(keyed.values()) == ["item_id", "user_id"]
    (deployed.prepared / "items.npz").write_bytes(b"embeddings of items")
    assert len(files_with(USER, deployed.root)) == 4, "the search itself finds what is there"

    done = deployed.forget()

    assert files_with(USER, deployed.root) == []
    assert not [path for path in deployed.root.rglob(".loopfm-tmp-*")]
    after = PreparedDataset.load(deployed.prepared)
    after.verify()
    assert (deployed.prepared / "items.npz").read_bytes() == b"embeddings of items"
    kept = (frame["user_id"] != USER).to_numpy()
    assert done.events == (~kept).sum() > 5
    expected = frame[kept].reset_index(drop=True).assign(event_id=np.arange(kept.sum()))
    pd.testing.assert_frame_equal(after.frame(), expected, check_exact=True)
    values, ends, lengths = after.sequence("item_his")
    now = [values[end - n : end].tolist() for end, n in zip(ends, lengths, strict=True)]
    assert now == [each for each, left in zip(tokens, kept, strict=True) if left]
    assert len(values) < len(sequence[0])
    for path, old in stored.items():
        assert verify_store(path, after) == []
        new = histories(path, after)
        assert new.keys() == {each for each in old if each[0] != USER}
        for sample, events in new.items():
            if keyed[path] == "user_id":
                assert events == old[sample]
            else:
                left = [event for event in old[sample] if event[1] != USER]
                assert events[len(events) - len(left) :] == left, "others moved up from before"


def test_what_can_be_made_again_is_deleted_and_weights_only_when_asked(deployed: Deployed) -> None:
    done = deployed.forget()
    kinds = {(step.artifact.kind, step.action) for step in done.steps}
    assert kinds == {
        ("store", "rewrite"), ("teacher", "keep"), ("extraction", "delete"), ("export", "delete"),
        ("pointers", "delete"), ("view", "delete"),
    }  # fmt: skip
    left = {path.name.partition("-")[0] for path in deployed.artifacts.iterdir()}
    assert {each for each in left if not each.startswith(".")} == {"store", "teacher", "pointers"}
    assert not list(deployed.artifacts.glob("pointers/*.h5"))
    assert not (deployed.root / "exported" / "test.npz").exists()
    deployed.forget("u5", weights=True)
    assert not list(deployed.artifacts.glob("teacher-*"))


def test_a_run_goes_on_afterwards(deployed: Deployed) -> None:
    deployed.forget()
    prepared = PreparedDataset.load(deployed.prepared)
    config = write_configs(deployed.root / "again", deployed.root, prepared.folder)
    loop = Loop(deployed.root, config, prepared)
    assert loop.run(method_slug("LoopFM"), seed=1).metrics["AUC"] > 0.5
    assert files_with(USER, deployed.root / "data") == []


def test_a_dry_run_changes_nothing(deployed: Deployed) -> None:
    def everything() -> dict[str, bytes]:
        files = (each for each in deployed.root.rglob("*") if each.is_file())
        return {str(each): each.read_bytes() for each in files if not each.name.endswith(".lock")}

    before = everything()
    planned = deployed.forget(dry_run=True)
    assert everything() == before
    done = deployed.forget()
    assert [str(step) for step in done.steps] == [str(step) for step in planned.steps]


@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_the_same_command_finishes(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    whole = Deployed(
        tmp_path / "whole",
        *(tmp_path / "whole" / path.relative_to(deployed.root)
          for path in (deployed.prepared, deployed.artifacts)),
    )  # fmt: skip
    shutil.copytree(deployed.root, whole.root, symlinks=True)
    steps = len(whole.forget().steps)
    carry_out = forget._carry_out
    for last in (0, steps // 2, steps - 1):
        passed = iter(range(steps))

        def dying(*args: Any, last: int = last, passed: Iterator[int] = passed) -> None:
            number = next(passed)
            if number == last and not after:
                os._exit(9)
            carry_out(*args)
            if number == last:
                os._exit(9)

        child = os.fork()
        if not child:
            monkeypatch.setattr(forget, "_carry_out", dying)
            deployed.forget()
            os._exit(0)  # fewer steps were left
        os.waitpid(child, 0)
    with suppress(DataError):  # the last one had but one step left, and finished
        deployed.forget()
    assert files_with(USER, deployed.root) == []
    assert _bytes_of(deployed.root) == _bytes_of(whole.root)


def _bytes_of(root: Path) -> dict[str, bytes]:
    files = (each for each in root.rglob("*") if each.is_file() and each.suffix != ".lock")
    return {str(each.relative_to(root)): each.read_bytes() for each in files}


def test_integer_users_and_a_sequence_of_users(tmp_path: Path) -> None:
    from dataclasses import replace

    from fuxictr_loopfm.prepared.dataset import SequenceColumn, write_prepared

    frame = log_frame()
    frame["account"] = frame["user_id"].str[1:].astype(np.int64) - 5
    spec = replace(
        log_spec(),
        user="account",
        side_columns=("account",),
        sequences=(),
    )
    prepared = write_prepared(tmp_path / "ints" / "set_s1", spec, frame)
    assert (prepared.array("account") == -3).any()
    forget_users(prepared.folder, ["-3"], [tmp_path])
    assert set(PreparedDataset.load(prepared.folder).array("account")) == set(
        frame["account"][frame["account"] != -3]
    )

    users = frame["user_id"].to_numpy().astype("S")
    end = np.arange(len(frame))
    visitors = (users, end, np.minimum(end, 3).astype(np.uint16))  # the last three visitors
    spec = replace(log_spec(), sequences=(SequenceColumn("visitors", "user_id", 3),))
    prepared = write_prepared(tmp_path / "seq_s1", spec, frame, {"visitors": visitors})
    forget_users(prepared.folder, ["u17"], [tmp_path])
    values, end, length = PreparedDataset.load(prepared.folder).sequence("visitors")
    assert b"u17" not in values
    row = 1000
    kept = np.flatnonzero(frame["user_id"] != "u17")
    expected = [each for each in users[kept[row] - 3 : kept[row]].tolist() if each != b"u17"]
    assert values[end[row] - length[row] : end[row]].tolist() == expected


def test_refusals(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="expected events of nobody, found none"):
        deployed.forget("nobody")
    every = [*(f"u{code}" for code in range(USERS)), USER]
    with pytest.raises(DataError, match="expected events of other users, found none"):
        deployed.forget(*every)
    with pytest.raises(DataError, match=r"without these users period .* prepare it again"):
        deployed.forget(*every[:-2])
    assert files_with(USER, deployed.prepared), "a refusal leaves everything in place"
    missing = deployed.root / "no such folder"
    with pytest.raises(DataError, match="cannot be read"):
        forget_users(missing / "set_s1", ["u5"], deployed.folders)
    assert not missing.exists(), "no lock is left where there is nothing"
    with pytest.raises(SystemExit) as ended:
        main(["forget", "--prepared", str(deployed.prepared), "--artifacts", str(missing),
              "--user", USER])  # fmt: skip
    assert ended.value.code == 1
    assert f"--artifacts {missing}: expected a folder, found none" in capsys.readouterr().err


def test_a_damaged_store_is_not_made_to_look_whole(deployed: Deployed) -> None:
    shard = next(path for path in deployed.stores[0].glob("shard-*.h5") if path.stat().st_size)
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(Exception, match=shard.name):
        deployed.forget()
    assert USER in set(PreparedDataset.load(deployed.prepared).array("user_id"))


def test_former_versions_go_by_retention(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in deployed.artifacts.rglob("*")}
    assert forget_outdated(deployed.prepared, [deployed.artifacts]) == []
    assert {path.name for path in deployed.artifacts.rglob("*")} == before
    frame = PreparedDataset.load(deployed.prepared).frame()
    write_log(deployed.prepared, frame[frame["user_id"] != "u3"])
    main(["forget", "--prepared", str(deployed.prepared), "--artifacts", str(deployed.artifacts),
          "--outdated"])  # fmt: skip
    assert "artifacts of former versions deleted" in capsys.readouterr().out
    left = {path.name for path in deployed.artifacts.rglob("*") if path.is_file()}
    assert left == set(), "neither artifacts nor their locks"


def test_a_user_known_to_former_versions_alone_is_found_there(deployed: Deployed) -> None:
    frame = PreparedDataset.load(deployed.prepared).frame()
    write_log(deployed.prepared, frame[frame["user_id"] != USER])
    assert files_with(USER, deployed.root)
    done = deployed.forget()
    assert done.events == 0 and done.steps
    assert files_with(USER, deployed.artifacts) == files_with(USER, deployed.root / "data") == []


def test_ids_from_a_file(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{USER}\nu5\n", encoding="utf-8")
    command = ["forget", "--prepared", str(deployed.prepared), "--artifacts", str(deployed.root)]
    for text, problem in (("\n", "expected one user id a line, found none"), (None, "cannot be")):
        other = tmp_path / "other.txt"
        other.write_text(text) if text else other.unlink()
        with pytest.raises(SystemExit):
            main([*command, "--user-file", str(other)])
        assert f"--user-file {other}: {problem}" in capsys.readouterr().err
    main(["forget", "--prepared", str(deployed.prepared), "--user-file", str(ids), "--artifacts",
          *map(str, deployed.folders)])  # fmt: skip
    assert not {USER, "u5"} & set(PreparedDataset.load(deployed.prepared).array("user_id"))
