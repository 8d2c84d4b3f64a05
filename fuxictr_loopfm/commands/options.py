"""Options of the commands whose work can be cut into shards."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.engine import ENGINES
from fuxictr_loopfm.structuring import reading

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """``--engine``, ``--workers`` and ``--shard``."""
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="who does the work")
    parser.add_argument("--workers", type=at_least_one, default=1, help="of the engine (default 1)")
    parser.add_argument(
        "--shard", type=share, metavar="i/n", help="do only the i-th of n shares of the work"
    )


def add_memory_limit(parser: argparse.ArgumentParser) -> None:
    """``--memory-limit``."""
    parser.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="sort out of core beyond this, for example 2GiB, at least 64MiB for each worker; the "
        "bytes of the store are the same",
    )


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text!r}")
    return int(text)


def share(text: str) -> tuple[int, int]:
    """(i, n) of ``i/n``, the i-th of n shares."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, found {text!r}")
    return int(number), int(count)


def size_in_bytes(text: str) -> int:
    """Bytes of a number with a unit, ``512MiB`` or ``2GiB``."""
    for power, unit in enumerate(_UNITS, 1):
        number = text.removesuffix(unit)
        if number != text and number.isdecimal():
            size = int(number) << (10 * power)
            if size < reading.LEAST_LIMIT:
                least = f"{reading.LEAST_LIMIT >> 20}MiB"
                raise argparse.ArgumentTypeError(f"expected at least {least}, found {text!r}")
            return size
    raise argparse.ArgumentTypeError(f"expected a size like 512MiB or 2GiB, found {text!r}")
