"""``loopfm verify`` of single artifacts, of a data root, and against a data set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Loop, new_loop
from planted import log_frame, write_log

from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import write_record
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.part_record import PartRecord
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.pointing import donors
from fuxictr_loopfm.upkeep.verification import verify_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Path:
    """A data root with everything in it."""
    loop = new_loop(tmp_path_factory.mktemp("verified"), planted_log)
    record = loop.run("kd_loopfm", loopfm_num_shards=2, epochs=1)
    root = loop.root / "data"
    write_record(root / "records", record)
    shutil.copytree(planted_log.folder, root / "prepared")
    return root


def test_every_kind_by_itself(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = data / "artifacts" / "Planted_s1"
    for pattern, words in {
        "prepared": "prepared data set of 2000 events: checksums hold",
        "Planted_s1": "vertical view in",
        "Planted_teacher_s1": "teacher view in",
        "artifacts/Planted_s1/teacher-*": "teacher teacher: checksums hold",
        "artifacts/Planted_s1/extraction-*": "in 4 part(s): checksums hold",
        "artifacts/Planted_s1/store-*": "events of 100 keys in 2 shard(s): checksums hold",
        "artifacts/Planted_s1/pointers": "samples: checksums hold",
        "artifacts/Planted_s1/pointers/test-*.h5": "samples: checksums hold",
        "records": "1 run record(s) are readable",
        "records/*.json": "1 run record(s) are readable",
    }.items():
        (folder,) = data.glob(pattern)
        main(["verify", str(folder), "--prepared", str(data / "prepared")])
        assert words in capsys.readouterr().out, pattern
    assert artifacts.is_dir()


def test_a_whole_data_root_is_walked(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root, symlinks=True)
    report = verify_folder(root, root / "prepared")
    assert report.problems == []
    text = "\n".join(report.checked)
    kinds = ("prepared data set", "vertical view", "teacher view", "teacher teacher", "part(s)")
    for words in (*kinds, "shard(s)", "of every event agree", "samples", "run record"):
        assert words in text, words

    (log,) = root.glob("artifacts/*/extraction-*")
    (log / "manifest.json").unlink()
    (root / "notes.txt").write_text("mine")
    (root / ".loopfm-tmp-x").mkdir()
    (pointers,) = root.glob("artifacts/*/pointers/test-*.h5")
    content = bytearray(pointers.read_bytes())
    content[-1] ^= 1
    pointers.write_bytes(content)
    (record,) = root.glob("records/*.json")
    record.rename(record.with_name("other-seed3.json"))
    report = verify_folder(root)
    text = "\n".join(report.checked)
    assert f"{log}: unfinished" in text and f"{root}: no artifacts, not checked: notes.txt" in text
    assert f"{root / '.loopfm-tmp-x'}: left by a process that was killed" in text
    first, second = sorted(report.problems)
    assert first.startswith(f"{pointers}: sha256: expected") and " in bytes 4096 to " in first
    assert "other-seed3.json: expected the record of other-seed3, found that of" in second


def test_artifacts_of_another_data_set_are_named(data: Path, tmp_path: Path) -> None:
    frame = log_frame(seed=8)
    other = write_log(tmp_path / "other", frame).folder
    patterns = ("Planted_s1", "prepared", "artifacts/*/teacher-*", "artifacts/*/extraction-*")
    for pattern in (*patterns, "artifacts/*/store-*"):
        (folder,) = data.glob(pattern)
        assert verify_folder(folder).problems == []
        (problem, *_) = verify_folder(folder, other).problems
        assert str(folder) in problem and "fingerprint: expected" in problem


def test_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("x")
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(SystemExit) as stopped:
            main(["verify", str(folder)])
        assert stopped.value.code == 1 and str(folder) in capsys.readouterr().err


def test_training_refuses_a_store_by_other_keys(own_loop: Loop) -> None:
    """Its folder has the right name, its provenance is right, and it is another store."""
    own_loop.run("loopfm")
    own_loop.load("loopfm")[1].structuring("item_id").build()
    stores = own_loop.folders("store")
    mine = own_loop.load("loopfm")[1].structuring("user_id").folder
    (other,) = set(stores) - {mine}
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    with pytest.raises(Exception, match="key: expected user_id, found item_id"):
        own_loop.run("loopfm")
    assert any("found the same in" in problem for problem in verify_folder(mine).problems)


def other_delay(_: Path, pointers: Pointers) -> Pointers:
    return replace(pointers, spec=replace(pointers.spec, delay=pointers.spec.delay + 10**6))


def shifted_by_one(_: Path, pointers: Pointers) -> Pointers:
    """Every range that is not at the end of its key's rows also ends one row later."""
    return replace(pointers, end=np.where(pointers.length > 0, pointers.end + 1, 0).astype("u4"))


def one_event_less(_: Path, pointers: Pointers) -> Pointers:
    return replace(pointers, length=np.maximum(pointers.length, 1) - (pointers.length > 0))


def of_other_users(root: Path, pointers: Pointers) -> Pointers:
    """Those of the shuffled control, sealed as if they were the users' own."""
    prepared = PreparedDataset.load(root / "prepared")
    rows = prepared.rows_of(prepared.spec.periods.test)
    donor = donors(pointers.length, prepared.array("user_id")[rows])
    donor = np.where(donor < 0, np.arange(len(donor)), donor)
    return replace(pointers, end=pointers.end[donor], length=pointers.length[donor])


@pytest.mark.parametrize("with_log", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            shifted_by_one,
            r"sample \d+ \(user_id \w+, time \d+\): reads event \d+ at time",
        ),
        (one_event_less, r"reads \d+ events without event \d+ at time \d+, which is one of the"),
        (of_other_users, r"reads event \d+ at time \d+, which is of user_id \w+; rule: t_event"),
        (other_delay, r"which is not before \d+ - delay \d{7}; rule: t_event < t - delay \d{7}"),
    ],
)
def test_sealed_pointers_that_break_the_causal_rule(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path, Pointers], Pointers],
    words: str,
    with_log: bool,
) -> None:
    """Every checksum, record and name fits; the rule alone tells, from the log or the store."""
    root = tmp_path / "data"
    shutil.copytree(data, root, symlinks=True)
    (path,) = root.glob("artifacts/*/pointers/test-*.h5")
    (store,) = root.glob("artifacts/*/store-*")
    meta = PartRecord.read(path).meta
    spec = SequenceSpec(**meta["spec"])
    pointers = change(root, Pointers.load(path, store=read_manifest(store), spec=spec))
    meta["spec"] = pointers.spec.to_dict()
    path.unlink()
    path.with_suffix(".json").unlink()
    path = path.with_name(f"test-{fingerprint(meta)}.h5")
    pointers.save(path, meta)
    log = ["--prepared", str(root / "prepared")] if with_log else []
    for folder in (path, store, root):
        with pytest.raises(SystemExit) as stopped:
            main(["verify", str(folder), *log])
        message = capsys.readouterr().err
        assert stopped.value.code == 1 and str(path) in message
        assert re.search(words, message), message


def test_pointers_of_the_shuffled_control_follow_the_rule_of_their_own(own_loop: Loop) -> None:
    own_loop.run("loopfm", loopfm_control="shuffled_users", epochs=1)
    pointers = own_loop.artifacts / "pointers"
    for prepared in (own_loop.prepared.folder, None):
        report = verify_folder(pointers, prepared)
        assert report.problems == [] and len(report.checked) == 2
    text = "\n".join(verify_folder(pointers, own_loop.prepared.folder).checked)
    assert text.count("every sample agrees with the causal rule") == 2
