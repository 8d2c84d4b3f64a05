"""What ``loopfm verify`` checks of each kind of artifact.

Every check notes its problems in a report and returns a line on what was checked.
"""

from __future__ import annotations

import re
from pathlib import Path

from fuxictr_loopfm.data.artifact import file_problems, read_description
from fuxictr_loopfm.errors import LoopFMError, StoreError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.files.seals import SEAL
from fuxictr_loopfm.pipeline.extraction_files import CALIBRATION_FILE
from fuxictr_loopfm.pipeline.teacher_files import read_teacher_manifest, teacher_problems
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.store.extraction_log import ExtractionLog, part_problems
from fuxictr_loopfm.store.part_record import PartRecord, record_path
from fuxictr_loopfm.store.schema import provenance_problems
from fuxictr_loopfm.store.shard import checksum_problems, open_shard, read_manifest
from fuxictr_loopfm.structuring.verify import verify_store
from fuxictr_loopfm.upkeep.found import Found
from fuxictr_loopfm.upkeep.pointer_checks import check_pointers, check_pointers_into, stores_in
from fuxictr_loopfm.upkeep.report import Report

RECORD = re.compile(r".+-seed-?\d+\.json")


def check_prepared(found: Found, report: Report) -> str:
    """Checksums of a prepared data set."""
    prepared = PreparedDataset.load(found.path)
    prepared.verify()
    report.compare(found.path, prepared.spec.dataset_id, prepared.fingerprint)
    return f"prepared data set of {prepared.spec.rows} events: checksums hold"


def check_view(found: Found, report: Report) -> str:
    """Checksums of an encoded view, and that it was encoded from the data set."""
    manifest = read_description(found.path)
    report.problems += file_problems(found.path, manifest)
    if report.prepared is not None and "parts" in manifest:
        # A view has an id of its own; the data set's is told by its fingerprint alone.
        wanted = report.prepared.fingerprint
        if report.every and manifest["prepared_fingerprint"] != wanted:
            report.problems.append(
                f"{found.path}: prepared_fingerprint: expected {wanted}, found "
                f"{manifest['prepared_fingerprint']}; it was made from other data"
            )
    return f"{manifest['view']} view in {len(manifest['files'])} files: checksums hold"


def check_teacher(found: Found, report: Report) -> str:
    """Checksums of a teacher, that it is of the data set, and that its name says which it is."""
    manifest = read_teacher_manifest(found.path)
    report.problems += teacher_problems(found.path, manifest)
    report.compare(found.path, manifest.get("dataset_id"), manifest.get("dataset_fingerprint"))
    expected = fingerprint(manifest.get("identity"))
    if manifest["teacher"] != expected:
        report.problems.append(
            f"{found.path}: teacher: expected {expected} of its identity, found "
            f"{manifest['teacher']}"
        )
    _check_name(found.path, "teacher", manifest["compressor"], report)
    if "files" not in manifest:
        return "teacher of a release that kept no checksums; its weights were not checked"
    return f"teacher {manifest.get('expid')}: checksums hold"


def check_extraction(found: Found, report: Report) -> str:
    """Checksums, records, shapes and order of an extraction log."""
    folder = found.path
    manifest = ExtractionLog.read_manifest(folder)
    report.problems += part_problems(folder, manifest)
    records = {folder / f"{part.name}.h5": part for part in manifest.parts}
    if manifest.calibration is not None:
        path = folder / CALIBRATION_FILE
        problem = manifest.calibration.problem(path)
        report.problems += [problem] if problem else []
        records[path] = manifest.calibration
    for path, expected in records.items():
        report.problems += _record_problems(path, expected)
    if not report.problems:
        ExtractionLog.open(folder)  # shapes, types and the order of events
    identity = {"compressor": manifest.compressor_fingerprint, "periods": manifest.logged_periods}
    _check_name(folder, "extraction", fingerprint(identity), report)
    if report.prepared is not None:
        # It names no data set; in a folder of artifacts, its place does.
        name = report.prepared.spec.dataset_id if report.every else folder.parent.name
        report.compare(folder, name, manifest.dataset_fingerprint)
    rows = sum(part.rows for part in manifest.parts)
    line = f"extraction log of {rows} events in {len(manifest.parts)} part(s): checksums hold"
    return line if manifest.calibration else f"{line}; {CALIBRATION_FILE} has none"


def _record_problems(path: Path, expected: PartRecord) -> list[str]:
    """The record beside a file says the same as the manifest; older logs may lack it."""
    if not record_path(path).is_file():
        return []
    try:
        found = PartRecord.read(path)
    except StoreError as error:
        return [str(error)]
    if found != expected:
        return [f"{record_path(path)}: expected what the manifest says of {path.name}, found other"]
    return []


def check_store(found: Found, report: Report) -> str:
    """Checksums and layout of a store, and all its events if there is a log to compare with."""
    manifest = read_manifest(found.path)
    report.problems += [f"{found.path}: {each}" for each in provenance_problems(manifest)]
    report.problems += checksum_problems(found.path, manifest)
    # A store's name says what it was made of, so no two of them are the same.
    twins = [path for path, other in stores_in(found.path.parent) if other == manifest]
    if found.path.name.startswith("store-") and len(twins) > 1:
        report.problems.append(
            f"{found.path}: expected a store of its own, found the same in "
            f"{', '.join(path.name for path in twins if path != found.path)}; one was copied over "
            "the other. Delete them and run the experiments again"
        )
    line = (
        f"{manifest.rows} events of {manifest.keys} keys in {len(manifest.shards)} shard(s): "
        "checksums hold"
    )
    if report.problems:
        return line
    for index in range(len(manifest.shards)):
        with open_shard(found.path, manifest, index):
            pass  # its layout is what the manifest says
    prepared = report.prepared
    if prepared is None:
        line += "\nnot checked against the log; give --prepared"
    elif report.every or manifest.dataset_id == prepared.spec.dataset_id:
        report.problems += verify_store(found.path, prepared)
        line += f"\n{prepared.folder}: keys, times, labels and periods of every event agree"
    if report.every and not report.problems:
        # Asked for this store alone; in a folder of artifacts its pointers are found by themselves.
        count = check_pointers_into(found.path, manifest, report)
        line += f"\n{count} file(s) of pointers into it agree with the causal rule" if count else ""
    return line


def check_pointer_file(found: Found, report: Report) -> str:
    """Checksums, whose they are, and the causal rule; see ``pointer_checks``."""
    return check_pointers(found.path, report)


def check_records(found: Found, report: Report) -> str:
    """Seals of run records, and that their files have their names."""
    count = unsealed = 0
    for path in found.files:
        try:
            records = read_records([path])
        except LoopFMError as error:
            report.problems.append(str(error))
            continue
        count += len(records)
        if RECORD.fullmatch(path.name):
            unsealed += f'"{SEAL}"' not in path.read_text(encoding="utf-8")
            if path.name != records[0].file_name:
                report.problems.append(
                    f"{path}: expected the record of {path.stem}, found that of "
                    f"{records[0].file_name.removesuffix('.json')}"
                )
        else:
            unsealed += len(records)
    without = f", {unsealed} of them without a seal, which shows no change of a value"
    return f"{count} run record(s) are readable{without if unsealed else ''}"


def _check_name(folder: Path, kind: str, identity: object, report: Report) -> None:
    """A folder's name says what is in it, unless the user has given it another."""
    if folder.name.startswith(f"{kind}-") and folder.name != f"{kind}-{identity}":
        report.problems.append(
            f"{folder}: expected the {kind} that its name says, found {kind}-{identity}; it was "
            "copied over. Delete it and run the experiment again"
        )
