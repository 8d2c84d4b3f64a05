"""``loopfm leaderboard``: tables from run records."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.config.paths import user_path

SUMMARY = "Make a leaderboard from run records."
EXAMPLE = "loopfm leaderboard runs/KuaiRandPure_s1/records --out runs/KuaiRandPure_s1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Records, and where to write the table."""
    parser.add_argument("records", type=user_path, nargs="+", help="record files or folders")
    parser.add_argument("--out", type=user_path, help="also write leaderboard.{csv,md,html} there")


def run(options: argparse.Namespace) -> None:
    """Print the leaderboard, and write it if a folder was given."""
    from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
    from fuxictr_loopfm.evidence.leaderboard.rows import summarise
    from fuxictr_loopfm.records.comparison import read_comparisons
    from fuxictr_loopfm.records.record import read_records

    records = read_records(options.records)
    comparisons = read_comparisons(options.records)
    if options.out is not None:
        write_leaderboard(records, options.out, comparisons)
    print(to_terminal(summarise(records, comparisons)))
