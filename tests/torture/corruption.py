"""Truncations, flipped bits and swaps over every kind of artifact: found by verify, never read."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import yaml

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.upkeep.verification import verify_folder
from tests.resealed import change_json, change_yaml
from tests.torture.damaged_loop import REBUILT, DamagedLoop, Target
from tests.torture.section import Profile, Section

PATIENCE_SECONDS = 30


def torture(profile: Profile) -> Section:
    """Damage every file of a loop in many ways."""
    section = Section("Corruption is found")
    loop = DamagedLoop(profile.folder / "loop")
    each = profile.pick(16, 400)
    for kind, target in loop.targets().items():
        trial = Trial(kind, target, section, random.Random(f"{profile.seed} {kind}"))
        trial.truncations(each)
        trial.flips(each)
    for name, swap in swaps(loop).items():
        try_swap(name, swap, section, profile.folder / "before", loop)
    section.notes.append(
        "Packed run records (records.jsonl in benchmark_configs) have no seal: they are in the "
        "version control, and were not damaged here."
    )
    return section


class Trial:
    """Damages to the files of one kind of artifact.

    Args:
        kind: its name.
        target: its files and reader.
        section: where to count and report.
        random: chooses places.
    """

    def __init__(self, kind: str, target: Target, section: Section, random: random.Random) -> None:
        self.kind, self.target, self.section, self._random = kind, target, section, random
        self.expected = target.read()
        assert self.expected != REBUILT, kind
        self.check_quiet()

    def check_quiet(self) -> None:
        """Undamaged, verify says nothing: else it would prove nothing."""
        found = problems_of(self.target.verify)
        if found:
            self.section.survivors.append(f"{self.kind}: verify cries wolf: {found}")

    def truncations(self, count: int) -> None:
        """At every boundary that a reader may take for an end, and at random bytes."""
        places = [(path, at) for path in self.target.files for at in boundaries(path)]
        self._random.shuffle(places)
        del places[count // 2 :]
        while len(places) < count:
            path = self._random.choice(self.target.files)
            places.append((path, self._random.randrange(path.stat().st_size)))
        for path, at in places:
            content = path.read_bytes()
            self.damage(path, content, content[:at], f"truncated at byte {at}")
        self.section.count("truncations", len(places))
        self.section.count(f"  of them, {self.kind}", len(places))

    def flips(self, count: int) -> None:
        """Files take turns, so that small ones are not forgotten."""
        for number in range(count):
            path = self.target.files[number % len(self.target.files)]
            content = path.read_bytes()
            at, bit = self._random.randrange(len(content)), self._random.randrange(8)
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            self.damage(path, content, bytes(damaged), f"bit {bit} of byte {at} flipped")
        self.section.count("flipped bits", count)

    def damage(self, path: Path, content: bytes, damaged: bytes, what: str) -> None:
        """Damage a file, ask verify and the reader, and restore it."""
        where = f"{self.kind}, {path.name}, {what}"
        path.write_bytes(damaged)
        try:
            with patience():
                found = problems_of(self.target.verify)
                harmless = says_the_same(path, content, damaged)
                if self.target.verify and not harmless and str(path) not in "\n".join(found):
                    self.section.survivors.append(f"{where}: verify does not name it: {found}")
                self.section.count("descriptions that still say the same", harmless)
                self.read(where)
        except Exception as error:
            self.section.survivors.append(f"{where}: {type(error).__name__}: {error}")
        finally:
            path.write_bytes(content)

    def read(self, where: str) -> None:
        """Read as training does."""
        try:
            values = self.target.read()
        except LoopFMError:
            self.section.count("refused by the reader")
            return
        if values == REBUILT:
            self.section.count("built again by the pipeline")
        elif values == self.expected:
            self.section.count("not read, or read as it was")
        else:
            self.section.survivors.append(f"{where}: other values were read")


def problems_of(folder: Path | None) -> list[str]:
    """What ``loopfm verify`` reports."""
    if folder is None:
        return []
    try:
        return verify_folder(folder).problems
    except LoopFMError as error:
        return [str(error)]


def says_the_same(path: Path, content: bytes, damaged: bytes) -> bool:
    """A description of which only the form has changed, such as a missing last line break."""
    readers: dict[str, Callable[[bytes], Any]] = {".json": json.loads, ".yaml": yaml.safe_load}
    if path.suffix not in readers or path.name.startswith("feature_"):
        return False
    try:
        return repr(readers[path.suffix](content)) == repr(readers[path.suffix](damaged))
    except (ValueError, yaml.YAMLError):
        return False


def boundaries(path: Path) -> set[int]:
    """Where a truncated file may look whole."""
    content = path.read_bytes()
    size = len(content)
    found = {0, 1, 4, 8, size // 2, size - 8, size - 4, size - 1}
    found |= {match.start() for match in re.finditer(b"PK|PAR1", content)}
    if path.suffix in (".json", ".yaml"):
        found |= {match.end() for match in re.finditer(b"\n", content)}
    if path.suffix == ".h5":
        found |= set(range(0, size, 4096))
        with h5py.File(path) as file:
            file.visititems(lambda _, item: found.update(_extent(item)))
    return {at for at in found if 0 <= at < size}


def _extent(item: Any) -> tuple[int, ...]:
    offset = item.id.get_offset() if isinstance(item, h5py.Dataset) else None
    return () if offset is None else (offset, offset + item.nbytes)


@contextmanager
def patience() -> Iterator[None]:
    """A reader that hangs is a survivor."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"nothing after {PATIENCE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# The kind of artifact, what verify is given and must name, and how it is done.
Swap = tuple[str, Path, Callable[[], object]]


def swaps(loop: DamagedLoop) -> dict[str, Swap]:
    """Whole files of another place or build."""
    other = loop.another(loopfm_dim=2, loopfm_codec="int8").extraction_pass
    item_store = loop.load()[1].structuring("item_id")
    item_store.build()
    shuffled = loop.load(loopfm_control="shuffled_users")[1]
    train = loop.workspace.view.rows("train")
    shuffled.pointers_into(loop.store_folder, loop.key, train, "train")
    store, log, teacher = loop.store_folder, loop.extraction.folder, loop.run.folder
    view, pointers = loop.workspace.view.folder, loop.artifacts / "pointers"
    mine, wrong = _own_and_shuffled(pointers)
    shards = store / "shard-00000.h5", store / "shard-00001.h5"
    parts = sorted(log.glob("period-*.h5"))[:2]
    folders = {
        "event store": store, "extraction log": log, "teacher": teacher, "pointers": pointers,
        "encoded view": view, "prepared data set": loop.workspace.prepared.folder,
        "run record": loop.record,
    }  # fmt: skip
    found: dict[str, Swap] = {}

    def add(name: str, kind: str, carry_out: Callable[..., object], *files: Path) -> None:
        found[name] = kind, folders[kind], partial(carry_out, *files)

    log_of_other, teacher_of_other = other.folder, other.run.folder
    add("two shards", "event store", exchange, *shards)
    add("a store by another key", "event store", put_over, item_store.folder, store)
    add("manifest of another store", "event store", put, item_store.folder / "manifest.json", store)
    add("two parts of a log", "extraction log", exchange, *parts)
    add("two parts of a log with their records", "extraction log", exchange_both, *parts)
    add("another log", "extraction log", put_over, log_of_other, log)
    for name, file in (("manifest", "manifest.json"), ("calibration", "calibration.npy")):
        add(f"{name} of another log", "extraction log", put, log_of_other / file, log)
    add("pointers of the control", "pointers", exchange_both, mine, wrong)
    add("pointers of the control without their record", "pointers", exchange, mine, wrong)
    add("another teacher", "teacher", put_over, teacher_of_other, teacher)
    add("compressor of another width", "teacher", put, teacher_of_other / "compressor.pt", teacher)
    add("the teacher's view", "encoded view", put, loop.run.view.path("train"), view)
    for kind, file, version in (
        ("prepared data set", "dataset.yaml", 2),
        ("encoded view", "encoded.json", 2),
        ("teacher", "manifest.json", [2, 0]),
        ("extraction log", "manifest.json", [2, 0]),
        ("event store", "manifest.json", [2, 0]),
        ("run record", "", 2),
    ):
        add(f"newer {kind}", kind, partial(changed, version=version), folders[kind] / file)
    add("another run's record", "run record", partial(changed, seed=7), loop.record)
    return found


put = shutil.copy
put_over = partial(shutil.copytree, dirs_exist_ok=True)


def changed(path: Path, **entries: object) -> None:
    """Other entries in a description, sealed again."""
    change = change_yaml if path.suffix == ".yaml" else change_json
    change(path, lambda plain: plain.update(entries))


def _own_and_shuffled(pointers: Path) -> tuple[Path, Path]:
    """The train split's pointers of the loop, and those with the users exchanged."""
    found: dict[str, list[Path]] = {}
    for path in pointers.glob("train-*.json"):
        meta = json.loads(path.read_text(encoding="utf-8"))["meta"]
        found.setdefault(meta["store"], []).append(path)
    (pair,) = (each for each in found.values() if len(each) == 2)
    pair.sort(key=lambda path: '"shuffled_users' in path.read_text(encoding="utf-8"))
    return pair[0].with_suffix(".h5"), pair[1].with_suffix(".h5")


def exchange(one: Path, other: Path) -> None:
    """Swap two files."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def exchange_both(one: Path, other: Path) -> None:
    """Swap two files and their records."""
    exchange(one, other)
    exchange(one.with_suffix(".json"), other.with_suffix(".json"))


def try_swap(name: str, swap: Swap, section: Section, saved: Path, loop: DamagedLoop) -> None:
    """Carry a swap out, ask verify and the reader, and restore what it was done to."""
    kind, path, carry_out = swap
    read = loop.targets()[kind].read
    expected = read()
    keep(path, saved)
    section.count("swaps and newer versions")
    try:
        carry_out()
        with patience():
            found = problems_of(path)
            if not any(str(path) in problem for problem in found):
                section.survivors.append(f"{name}: verify does not name it: {found}")
            try:
                values = read()
            except LoopFMError:
                return
            # A record that is whole and sealed is another run's, for all that a reader can know.
            if values not in (REBUILT, expected) and name != "another run's record":
                section.survivors.append(f"{name}: other values were read")
    except Exception as error:
        section.survivors.append(f"{name}: {type(error).__name__}: {error}")
    finally:
        keep(saved, path)


def keep(source: Path, target: Path) -> None:
    """Make ``target`` a copy of ``source``."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        target.unlink(missing_ok=True)
        shutil.copytree(source, target)
