"""The class whose mean TF-IDF vector lies nearest, by cosine (Rocchio)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenworks.line.evaluate.baselines._bag_of_words import Vocabulary, numbered


def predict(texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the class of each text in `asked`, having learnt from `texts` and `labels`."""
    words = Vocabulary(texts)
    classes, numbers = numbered(labels)
    belongs = np.eye(len(classes), dtype=np.float32)[numbers]
    centroids = words.rows(texts).transposed().times(belongs)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=0), 1e-12)
    nearest = words.rows(asked).times(centroids).argmax(1)
    return [classes[number] for number in nearest]
