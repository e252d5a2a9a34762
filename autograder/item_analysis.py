"""How hard the stages of a lab are, and how well each tells strong submissions from weak ones.

Classical test theory (Lord and Novick: Statistical theories of mental test scores, 1968; Crocker
and Algina: Introduction to classical and modern test theory, 1986, chapter 14). With $x_{si}$ the
points of submission $s$ in stage $i$, $m_i$ the stage's points, and $n$ submissions:

    difficulty      p_i = sum_s x_si / (n m_i)        the mean share of the points; 1 is the easiest
    discrimination  r_i = corr_s(x_si, T_s - x_si)    T_s: the points of submission s in all stages

The correlation is Pearson's and leaves the stage itself out of the total (the corrected item-total
or item-rest correlation; Henrysson: Correction of item-total correlations in item analysis,
Psychometrika 28, 1963), since a stage correlates with a total that it is part of even where it
measures nothing. Ebel and Frisbie (Essentials of educational measurement, 1991) call 0.40 and more
very good, and what is below 0.20 poor: such a stage, or its check, deserves a look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 10
"""With fewer submissions a correlation says nothing."""
POOR = 0.20


@dataclass(frozen=True)
class Item:
    """What the class did in one stage.

    Attributes:
        difficulty: The mean share of its points, from 0 to 1.
        discrimination: The item-rest correlation, from -1 to 1; None where there is none.
        reason: Why there is none, in a few words, or `""`.
    """

    difficulty: float
    discrimination: float | None
    reason: str = ""

    @property
    def poor(self) -> bool:
        """Whether the stage hardly tells strong submissions from weak ones."""
        return self.discrimination is not None and self.discrimination < POOR


def item_analysis(points: Sequence[Sequence[float]], most: Sequence[float]) -> list[Item]:
    """Difficulty and discrimination of every stage.

    Args:
        points: `[submissions, stages]`, the points of each submission in each stage.
        most: `[stages]`, what each stage is worth, more than 0.
    """
    table = np.asarray(points, float).reshape(-1, len(most))
    rest = table.sum(axis=1, keepdims=True) - table
    return [
        Item(float(table[:, i].mean() / worth) if len(table) else 0.0, *_item_rest(column, others))
        for i, (column, others, worth) in enumerate(zip(table.T, rest.T, most, strict=True))
    ]


def _item_rest(item: np.ndarray, rest: np.ndarray) -> tuple[float | None, str]:
    if len(item) < FEWEST:
        return None, f"too few: {len(item)} of at least {FEWEST}"
    # Sums of halves and thirds may differ in their last bits though they mean the same.
    if np.ptp(item) < 1e-9 or np.ptp(rest) < 1e-9:
        return None, "no variance: all alike" if np.ptp(item) < 1e-9 else "no variance elsewhere"
    return float(np.corrcoef(item, rest)[0, 1]), ""
