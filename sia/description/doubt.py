"""Of whom a model, or a pipeline, is unsure: them the language model describes, all others the templates alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sia.people import People

BELOW, AGREE = 0.7, 0.7
"""Score, and OKS between two looks, below which someone is in doubt: half of the people whom the bundled weights show,
of whom half are right; of the others nine in ten are (docs/description.md)."""


@dataclass(frozen=True)
class Doubt:
    """Thresholds, both in [0, 1]: on the score, and on `People.agreement` where there is one."""

    below: float = BELOW
    agree: float = AGREE

    def reasons(self, people: People) -> list[str | None]:
        """Why each of the people is in doubt; None for those who aren't."""
        agreement = np.ones(len(people)) if people.agreement is None else people.agreement
        told = []
        for score, agreed in zip(people.scores.tolist(), agreement.tolist(), strict=True):
            parts = [f"score {score:.2f} below {self.below:g}"] * (score < self.below)
            parts += [f"two looks agree by {agreed:.2f}, below {self.agree:g}"] * (agreed < self.agree)
            told.append("; ".join(parts) or None)
        return told
