"""Attacks by raw tables: bombs, broken texts, and names of columns; through ``custom.py``."""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import custom
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.torture.hostile_attack import Attack, Content, offered

CSV, PARQUET = "csv", "parquet"
START = 1_700_000_000
SPEC: dict[str, Any] = {
    "dataset_id": "Mine_s1",
    "log": "log.csv",
    "user": "uid",
    "item": "item",
    "time": {"column": "ts", "unit": "s"},
    "label": "click",
    "vertical": ["uid", "item"],
    "side_columns": ["extra"],
    "periods": {"kind": "chunks", "count": 3},
    "teacher_periods": 1,
}
HEADER = "uid,item,ts,click,extra"


def rows(count: int = 12) -> str:
    """Rows that prepare well, both classes in each pair."""
    return "".join(f"u{i % 2},i{i % 3},{START + i * 3600},{i % 2},x\n" for i in range(count))


def prepare(folder: Path) -> object:
    """``custom.py`` on the spec of a folder."""
    return custom.main(
        argparse.Namespace(spec=folder / "spec.yaml", out=folder / "out", drop_last_period=False)
    )


def attacks(folder: Path, size: int) -> Iterator[Attack]:
    """All attacks by tables; the largest unpack to ``size`` bytes."""
    own = folder / "tables"
    own.mkdir()
    good = f"{HEADER}\n{rows()}"
    yield _table(own, CSV, "a good log", good, harmless=True)
    quoted = good + f'"u""0{{x}}",i1,{START + 43200},1,"a,b"\n'
    yield _table(own, CSV, "quotes and commas in fields", quoted, harmless=True)
    lines = quoted.replace("{x}", "\n{x}")
    yield _table(own, CSV, "line ends in fields", lines, names="line 14: expected every value")
    yield _table(own, CSV, "line ends in fields that may hold them", lines, harmless=True,
                 quoting="multiline")  # fmt: skip
    yield from _bombs(own, size)
    broken = {
        "NUL in a key": good.replace("u0,i0", "u\0,i0", 1).replace(f"{START}", f"{START}\0", 1),
        "a column twice": good.replace("extra", "uid", 1),
        "an endless integer as time": good.replace(str(START), "9" * 100_000, 1),
        "an integer beyond 64 bits as time": good.replace(str(START), "9" * 25, 1),
        "an integer beyond 64 bits as label": good.replace(",0,x", f",{'9' * 25},x", 1),
        "infinity as time": good.replace(str(START), "inf", 1),
        "a field that never ends": good + '"' + "x,\n" * 1000,
        "rows of different lengths": good + "a,b\n",
        "code as time": good.replace(str(START), "__import__('os')", 1),
        "nothing": "",
        "a header alone": HEADER,
        "line ends alone": "\n" * 10_000,
    }
    for name, text in broken.items():
        yield _table(own, CSV, name, text, names="label" if "label" in name else "log")
    endless = broken["a field that never ends"]
    for quoting in ("none", "multiline"):
        yield _table(own, CSV, f"a field that never ends, quoting: {quoting}", endless,
                     quoting=quoting)  # fmt: skip
    mixed = good.encode() + f"é,i1,{START + 43200},1,x\n".encode("latin-1")
    yield _table(own, CSV, "mixed encodings", mixed)
    yield _table(own, CSV, "UTF-16", good.encode("utf-16"))
    yield _table(own, CSV, "no gzip", good, file="log.csv.gz")
    cut = gzip.compress(good.encode())[:-20]
    yield _table(own, CSV, "a cut gzip", cut, file="log.csv.gz")
    for name in (
        *('a"b', "a'b", "a[0]", "{a}", "a\nb"),
        *("__import__('os')", "*", "^.*$", "a.b", "a/b"),
    ):
        header = HEADER.replace("extra", '"' + name.replace('"', '""') + '"')
        text, columns = f"{header}\n{rows()}", ["uid", "item", name]
        yield _table(own, CSV, f"feature {name!r}", text, names=repr(name)[:8], vertical=columns,
                     side_columns=[])  # fmt: skip
    yield from _specs(own, good)
    yield from _parquets(own)


def _table(
    own: Path,
    kind: str,
    name: str,
    content: Content,
    *,
    file: str = "log.csv",
    names: str = "log",
    harmless: bool = False,
    **spec: Any,
) -> Attack:
    folder = own / f"t{len(list(own.iterdir()))}"
    folder.mkdir()
    (folder / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "log": file, **spec}))

    return offered(kind, name, folder / file, content, _prepared_once, names, harmless=harmless)


def _prepared_once(log: Path) -> object:
    try:
        return prepare(log.parent)
    finally:
        log.unlink(missing_ok=True)


def _bombs(own: Path, size: int) -> Iterator[Attack]:
    def write(path: Path, opened: Callable[..., Any], start: bytes, piece: bytes) -> None:
        block = piece * ((1 << 20) // len(piece))
        with opened(path, "wb") as stream:
            stream.write(start)
            for _ in range(size >> 20):
                stream.write(block)

    header = f"{HEADER}\n".encode()
    line = f"u,i,{START},1,x\n".encode()
    packed = partial(gzip.open, compresslevel=9)
    for name, opened, start, piece, file in (
        ("one line without an end", open, b"", b"x", "log.csv"),
        ("one line of columns", open, b"", b"c,", "log.csv"),
        ("one row without an end", open, header, b"x", "log.csv"),
        ("one open quote", open, header + b'"', b"x\n", "log.csv"),
        ("one line without an end, packed", packed, b"", b"x", "log.csv.gz"),
        ("one row without an end, packed", packed, header, b"x", "log.csv.gz"),
    ):
        content = partial(write, opened=opened, start=start, piece=piece)
        yield _table(own, CSV, name, content, file=file)
        if "quote" in name:
            yield _table(own, CSV, f"{name}, quoting: multiline", content, quoting="multiline")
    if size >= 1 << 30:
        content = partial(write, opened=packed, start=header, piece=line)
        yield _table(own, CSV, "a gzip of good rows, packed 300 times over", content, file="log.csv.gz")  # fmt: skip  # noqa: E501
    columns = ",".join(f"c{i}" for i in range(1_000_000))
    yield _table(own, CSV, "a million columns", f"{columns}\n{columns}\n")


def _specs(own: Path, good: str) -> Iterator[Attack]:
    endless = 10**15
    for name, changes in {
        "10**15 periods": {"periods": {"kind": "chunks", "count": endless}},
        "10**15 periods of the teacher": {"teacher_periods": endless},
        "10**15 tokens": {"history": {"max_len": endless}},
        "a time zone that is a path": {
            "periods": {"kind": "day", "timezone": "../../../etc/passwd"}
        },
        "a home that nobody has": {"log": "~nobody-has-this/x.csv"},
        "NUL in a path": {"log": "a\0b.csv"},
        "a dataset_id that is a path": {"dataset_id": "../../evil_s1"},
        "edges beyond 64 bits": {"buckets": {"item": [1, 10**400]}},
        "edges that are no numbers": {"buckets": {"item": [float("nan"), 1.0]}},
        "a list as a name": {"vertical": [["uid"]]},
        "a mapping as a user": {"user": {"a": 1}},
        "a history with a path": {"history": {"name": "../x"}},
    }.items():
        yield _table(own, CSV, f"spec: {name}", good, names="", **changes)


def _parquets(own: Path) -> Iterator[Attack]:
    index = np.arange(12)
    good = {
        "uid": pa.array([f"u{i % 2}" for i in index]),
        "item": pa.array([f"i{i % 3}" for i in index]),
        "ts": pa.array(START + index * 3600),
        "click": pa.array(index % 2),
        "extra": pa.array(["x"] * 12),
    }

    def table(path: Path, **columns: Any) -> None:
        pq.write_table(pa.table({**good, **columns}), path)

    def spoiled(path: Path, first: int, content: bytes) -> None:
        table(path)
        raw = bytearray(path.read_bytes())
        raw[first : first + len(content) or None] = content
        path.write_bytes(bytes(raw))

    def dictionary_bomb(path: Path) -> None:
        texts = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 1_000_000])
        )
        repeat = np.arange(1_000_000)
        columns = {
            "uid": texts, "item": pa.array(repeat % 3), "ts": pa.array(START + repeat * 60),
            "click": pa.array(repeat % 2), "extra": pa.array(repeat % 2),
        }  # fmt: skip
        pq.write_table(pa.table(columns), path)

    lists = pa.array([[i] for i in range(12)])
    structs = pa.array([{"a": i} for i in range(12)])
    for name, content in {
        "lists as items": partial(table, item=lists),
        "structs as users": partial(table, uid=structs),
        "no parquet": partial(spoiled, first=-4, content=b"PAR2"),
        "a broken footer": partial(spoiled, first=-60, content=b"\xff" * 30),
        "a footer of 4 GB": partial(spoiled, first=-8, content=b"\xff\xff\xff\x7f"),
        "a terabyte of text in a dictionary": dictionary_bomb,
    }.items():
        yield _table(own, PARQUET, name, content, file="log.parquet")
    yield _table(own, PARQUET, "a good log", table, file="log.parquet", harmless=True)
