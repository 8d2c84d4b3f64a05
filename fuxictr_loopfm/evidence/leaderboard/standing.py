"""What the rows of a board are compared with: ``base``, and the best row of the group above.

A method of a group needs more at serving than those of the groups above it. What it is worth is
what it adds to the best of them, not to ``base``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from fuxictr_loopfm.evidence.leaderboard.groups import RunGroup
from fuxictr_loopfm.evidence.methods import BASE, GROUPS, TEACHER, group_of


def references(group: RunGroup, groups: Sequence[RunGroup]) -> tuple[RunGroup | None, ...]:
    """(base, best of the nearest group above that has rows) for a row; None where there is none.

    Args:
        group: the row's runs.
        groups: all rows; those of other models and data sets do not count.
    """
    same = [each for each in groups if each.place == group.place]
    base = best([each for each in same if each.run.method == BASE])
    return base, above(group, same)


def above(group: RunGroup, same: Sequence[RunGroup]) -> RunGroup | None:
    """The best row of the nearest group above that has rows, None for the first group.

    Args:
        group: the row's runs.
        same: rows of the same model and data set.
    """
    own = group_of(group.run.method)
    order = list(GROUPS)
    if own is None:
        return None
    for name in reversed(order[: order.index(own)]):
        found = best([each for each in same if group_of(each.run.method) == name])
        if found is not None:
            return found
    return None


def best(groups: Iterable[RunGroup]) -> RunGroup | None:
    """The row of the highest mean AUC; of equal ones the first."""
    return max(groups, key=mean_auc, default=None)


def mean_auc(group: RunGroup) -> float:
    """Mean AUC over the seeds."""
    return statistics.fmean(run.metrics["AUC"] for run in group.runs.values())


def teacher_note(same: Sequence[RunGroup]) -> str | None:
    """One line where the teacher is no better than models that need none; None where it is.

    Args:
        same: rows of one model and data set.
    """
    teacher = best([each for each in same if each.run.method == TEACHER])
    alone = [each for each in same if not each.run.fingerprints["teacher"]]
    base = best([each for each in alone if each.run.method == BASE])
    if teacher is None or base is None:
        return None
    score = mean_auc(teacher)
    if score <= mean_auc(base):
        return (
            f"The teacher (AUC {score:.4f}) is not better than {BASE} ({mean_auc(base):.4f}): "
            "neither distillation nor embeddings can be expected to help. Tune it: loopfm "
            "tune-teacher."
        )
    strongest = best(alone)
    assert strongest is not None
    if score <= mean_auc(strongest):
        return (
            f"The teacher (AUC {score:.4f}) is better than {BASE} ({mean_auc(base):.4f}) and not "
            f"than {strongest.run.method} ({mean_auc(strongest):.4f}), which needs no teacher: "
            "little can be expected of distillation and embeddings beside a raw history. Tune it: "
            "loopfm tune-teacher."
        )
    return None


def period_note(same: Sequence[RunGroup]) -> str | None:
    """The teacher's AUC by logged period, the mean over the seeds; None without a teacher."""
    teacher = best([each for each in same if each.run.method == TEACHER])
    if teacher is None or not teacher.run.by_period:
        return None
    runs = list(teacher.runs.values())
    shared = [name for name in teacher.run.by_period if all(name in run.by_period for run in runs)]
    values = {name: statistics.fmean(run.by_period[name] for run in runs) for name in shared}
    # Records keep their entries in the order of text, where 10 comes before 5.
    shown = ", ".join(f"{name}: {values[name]:.4f}" for name in sorted(values, key=int))
    return f"AUC of the teacher by logged period: {shown}."
