"""Always the most frequent class of the training set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def predict(texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the class of each text in `asked`, having learnt from `texts` and `labels`."""
    counts = Counter(labels)
    most = min(counts, key=lambda label: (-counts[label], label))
    return [most] * len(asked)
