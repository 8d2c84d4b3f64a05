"""The search: one key at a time from the best point so far, within a budget.

A grid of a dozen keys has more points than a night has minutes. From the best point so far every
other value of one key is tried, then of the next, until a round over all keys changes nothing or
the budget is spent. The same results give the same next trial, so a stopped search goes on where
it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.tuning.space import Point, Space, what_counts
from fuxictr_loopfm.tuning.trial import Trial


@dataclass(frozen=True)
class Budget:
    """How much a search may cost; trials that were finished before count.

    Attributes:
        minutes: no trial begins after so many minutes of trials, None for no such limit.
        trials: so many trials at most, None for no such limit.
    """

    minutes: float | None = None
    trials: int | None = None

    def is_spent(self, trials: list[Trial]) -> bool:
        """True if no further trial may begin."""
        seconds = sum(trial.seconds for trial in trials)
        late = self.minutes is not None and seconds >= 60 * self.minutes
        return late or (self.trials is not None and len(trials) >= self.trials)


@dataclass
class Search:
    """A search through a space.

    Attributes:
        space: what it may choose from.
        run: makes the trial of a point.
        budget: when it ends at the latest.
        trials: what was tried, in order.
    """

    space: Space
    run: Callable[[Point], Trial]
    budget: Budget
    trials: list[Trial] = field(default_factory=list)

    def best(self) -> Trial:
        """Search; the first trial is always made.

        Raises:
            ConfigError: no trial succeeded.
        """
        known: dict[str, Trial] = {}
        with tqdm(file=sys.stderr, total=self.budget.trials, unit="trial") as bar:
            best = self._tried(self.space.start, known, bar)
            assert best is not None
            changed = True
            while changed:
                changed = False
                for key in self.space.values:
                    for point in list(self.space.neighbours(best.point, key)):
                        trial = self._tried(point, known, bar)
                        if trial is None:
                            return self._checked(best)
                        if trial.score > best.score:
                            best, changed = trial, True
        return self._checked(best)

    def _tried(self, point: Point, known: dict[str, Trial], bar: tqdm) -> Trial | None:
        """The trial of a point; None if it would cost what is not left."""
        name = fingerprint(what_counts(point))
        if name in known:
            return known[name]
        if known and self.budget.is_spent(self.trials):
            return None
        trial = known[name] = self.run(point)
        self.trials.append(trial)
        bar.set_description(f"best mean AUC {max(each.score for each in self.trials):.4f}")
        bar.update()
        return trial

    def _checked(self, best: Trial) -> Trial:
        if best.problem:
            raise ConfigError(
                f"{self.space.where}: expected a teacher that can be trained, found none among "
                f"{len(self.trials)} trials. The first: {self.trials[0].problem}"
            )
        return best
