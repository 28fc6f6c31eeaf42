"""Embeddings cut to fewer dimensions."""

from __future__ import annotations

import numpy as np

from tokenworks.serving.engine import Vectors
from tokenworks.serving.wire.problem import invalid


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """Return the first `dimensions` numbers of each vector, scaled to length 1 again; raise `Problem` for too many.

    As OpenAI's API does it (Kusupati et al. 2022, Matryoshka representation learning): a model that was trained for it
    loses little, any other more.
    """
    if not vectors.values:
        return vectors
    values = np.array(vectors.values, np.float32)
    if not 1 <= dimensions <= values.shape[1]:
        raise invalid(
            f"dimensions is {dimensions}, this model has {values.shape[1]}; ask for 1 to {values.shape[1]}",
            "dimensions",
            "invalid_value",
        )
    cut = values[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return Vectors(values=(cut / np.maximum(lengths, 1e-12)).tolist(), tokens=vectors.tokens)
