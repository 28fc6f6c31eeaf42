"""The vocabulary as OpenVINO GenAI wants it: constants of a detokenizer graph, read by its grammar compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def vocabulary_model(vocabulary: Sequence[bytes]) -> Any:
    """Return an `openvino.Model` from token ids to text whose constants hold `vocabulary`."""
    import openvino as ov  # heavy: only the process that converts loads it
    from openvino import opset15 as ops
    from openvino_tokenizers import _get_factory, _get_opset_factory

    ends = np.cumsum([len(token) for token in vocabulary], dtype=np.int64).astype(np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    characters = np.frombuffer(b"".join(vocabulary), np.uint8)
    ids = ops.parameter([-1, -1], np.int64)
    ids.output(0).set_names({"token_ids"})
    # No token is skipped, but GenAI looks for the slice that could skip some.
    none = ops.slice(*(ops.constant(np.array([value], np.int32)) for value in (-1, 0, 0, 1)))
    constants = [ops.constant(values).output(0) for values in (begins, ends, characters)]
    *ragged, bytes_out = (
        _get_factory()
        .create("VocabDecoder", [ops.convert(ids, np.int32).output(0), *constants, none.output(0)])
        .outputs()
    )
    joined = _get_factory().create("FuzeRagged", ragged, {}).outputs()
    text = _get_opset_factory("opset15").create("StringTensorPack", [*joined, bytes_out])
    text.output(0).set_names({"string_output"})
    return ov.Model([ops.result(text)], [ids], "vocabulary")
