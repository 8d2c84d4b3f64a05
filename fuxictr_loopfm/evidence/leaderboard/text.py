"""The wording that all renderings of a leaderboard share: headings, cells and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fuxictr_loopfm.evidence.leaderboard.context import Context
from fuxictr_loopfm.evidence.leaderboard.rows import Row
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.records.record import METRICS

NO_VALUE = "-"
HEADINGS = (
    "Rank",
    "Method",
    "Encoder",
    "AUC",
    "gAUC",
    "Logloss",
    "NE",
    f"dAUC vs {BASE}",
    "p",
    "Params",
    "Bytes/event",
    "Train s",
)
TEXT_COLUMNS = frozenset({"Method", "Encoder"})
EXPLANATION = (
    "Mean ± sample standard deviation over the seeds, on the test part. "
    f"dAUC: mean difference of AUC to {BASE} over the n seeds that both have; "
    "p: two-sided paired t-test over these seeds. NE: log loss divided by the entropy of the "
    "test part's click rate. Lower is better for Logloss and NE."
)


def title(rows: Sequence[Row]) -> str:
    """Title of a page with these rows."""
    return "Leaderboard: " + ", ".join(dict.fromkeys(row.dataset_id for row in rows))


def context_items(context: Context) -> list[tuple[str, tuple[str, ...]]]:
    """Name and values of everything to be said above the tables, without what is empty."""
    first, last = context.period
    items = [
        ("Protocol", (context.protocol,)),
        ("Split", context.splits),
        ("Seeds", (", ".join(map(str, context.seeds)),)),
        ("Runs started", (first if first == last else f"{first} to {last}",)),
        ("Environment", context.environments),
        ("Remarks", context.notes),
        ("Commands", context.commands),
    ]
    return [(name, values) for name, values in items if values]


def cells(rank: int, row: Row) -> list[str]:
    """The texts of one row under ``HEADINGS``."""
    compared = row.against_base
    return [
        str(rank),
        row.method,
        row.encoder or NO_VALUE,
        *(metric_text(row, name) for name in METRICS),
        NO_VALUE if compared is None else f"{compared.difference:+.4f}",
        NO_VALUE if compared is None else f"{_p_text(compared.p)} (n={compared.seeds})",
        f"{row.params:,}",
        f"{row.bytes_per_event:,.1f}".removesuffix(".0"),
        f"{row.train_seconds:.1f}",
    ]


def warnings_of(section: Iterable[Row]) -> list[str]:
    """Lines to stand under a table whose numbers are not to be trusted."""
    return [
        f"Warning: {' '.join(filter(None, (row.method, row.encoder)))}, {warning}."
        for row in section
        for warning in row.warnings
    ]


def metric_text(row: Row, metric: str) -> str:
    """Mean with 4 decimals, then the standard deviation where there is one."""
    mean, std = row.mean[metric], row.std[metric]
    if mean is None:
        return NO_VALUE
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def _p_text(p: float | None) -> str:
    if p is None:
        return NO_VALUE
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"
