"""The wording that all renderings of a leaderboard share: headings, cells and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fuxictr_loopfm.evidence.leaderboard.context import Context
from fuxictr_loopfm.evidence.leaderboard.rows import Comparison, Row
from fuxictr_loopfm.evidence.methods import BASE, GROUPS
from fuxictr_loopfm.records.record import METRICS

NO_VALUE = "-"
HEADINGS = (
    "Rank",
    "Method",
    "Encoder",
    "Reads",
    "AUC",
    "gAUC",
    "Logloss",
    "NE",
    f"dAUC vs {BASE} [95%]",
    "p over seeds",
    "dAUC vs group above [95%]",
    "Params",
    "Bytes/event",
    "Train s",
)
TEXT_COLUMNS = frozenset({"Method", "Encoder", "Reads"})
EXPLANATION = (
    "Mean ± sample standard deviation over the seeds, on the test part. "
    "Rows are grouped by what they need at serving, and ranked by AUC within. "
    f"dAUC: mean difference of AUC over the seeds that both rows have, to {BASE} and to the best "
    "row of the nearest group above, which is named; in brackets its 95% interval over users, who "
    "are drawn anew 1,000 times, the same for both rows. n.s.: the interval holds 0, so no "
    "difference was shown. p over seeds: two-sided paired t-test over the n seeds; it says what "
    "other seeds would give, and nothing of other users. gAUC of rows with past labels: those of "
    "the test period unknown, because a row would else carry the labels of the rows that it is "
    "compared with. NE: log loss divided by the entropy of the test part's click rate. Lower is "
    "better for Logloss and NE."
)
UNGROUPED = "Other methods"


def title(rows: Sequence[Row]) -> str:
    """Title of a page with these rows."""
    return "Leaderboard: " + ", ".join(dict.fromkeys(row.dataset_id for row in rows))


def context_items(context: Context) -> list[tuple[str, tuple[str, ...]]]:
    """Name and values of everything to be said above the tables, without what is empty."""
    first, last = context.period
    shown = bool(context.teacher_seeds)
    items = [
        ("Protocol", (context.protocol,)),
        ("Split", context.splits),
        ("Seeds", (", ".join(map(str, context.seeds)),)),
        ("Seeds of the teachers", tuple([", ".join(map(str, context.teacher_seeds))]) * shown),
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
        row.reads or NO_VALUE,
        *(metric_text(row, name) for name in METRICS),
        difference_text(compared),
        NO_VALUE if compared is None else f"{_p_text(compared.p)} (n={compared.seeds})",
        difference_text(row.against_above, named=True),
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


def difference_text(compared: Comparison | None, named: bool = False) -> str:
    """``+0.0021 [+0.0008, +0.0034]``; "n.s." stands in it where the interval holds 0.

    Args:
        compared: the row and another one.
        named: say which other one.
    """
    if compared is None:
        return NO_VALUE
    interval = f" [{NO_VALUE}]"
    if compared.interval is not None:
        interval = f" [{compared.interval.low:+.4f}, {compared.interval.high:+.4f}]"
    mark = " n.s." if compared.holds_zero else ""
    other = f" {compared.other}" if named else ""
    return f"{compared.difference:+.4f}{mark}{interval}{other}"


def group_title(row: Row) -> str:
    """What stands above the rows of a group."""
    return GROUPS.get(row.group, UNGROUPED)


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
