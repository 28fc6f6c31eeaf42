"""Prove that a JSON schema compiles before it reaches the engine: OpenVINO GenAI would fail the step of everybody.

The proof is one token from a model of a single empty layer with the same vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tokenworks.core.ids import canonical_json
from tokenworks.serving.engine import ParameterError

REMEMBERED = 1024


class Grammars:
    """Turns JSON schemas into the library's form; remembers which have been proven."""

    def __init__(self, probe: Path) -> None:
        import openvino_genai as genai  # loaded by the engine already

        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = 4
        self._pipeline = genai.ContinuousBatchingPipeline(str(probe), scheduler, "CPU", {"INFERENCE_NUM_THREADS": 1})
        self._proven: dict[bytes, Any] = {}

    def compile(self, schema: dict[str, Any], stop_id: int, salt: str = "") -> Any:
        """Return a `StructuredOutputConfig`; raise `ParameterError` where the schema cannot be followed.

        What was proven under one salt is proven anew under another: else the time it takes tells who else uses it.
        """
        import openvino_genai as genai

        written = canonical_json(schema)
        key = salt.encode() + written
        if key not in self._proven:
            grammar = genai.StructuredOutputConfig(json_schema=written.decode())
            self._prove(grammar, stop_id)
            if len(self._proven) >= REMEMBERED:
                self._proven.pop(next(iter(self._proven)))
            self._proven[key] = grammar
        return self._proven[key]

    def _prove(self, grammar: Any, stop_id: int) -> None:
        import openvino as ov
        import openvino_genai as genai

        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        config.set_eos_token_id(stop_id)
        config.structured_output_config = grammar
        handle = self._pipeline.add_request(0, ov.Tensor(np.zeros((1, 1), np.int64)), config)
        try:
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
        except RuntimeError as error:
            handle.cancel()
            self._pipeline.step()  # lets go of the cancelled request
            said = str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1]
            raise ParameterError("response_format", f"the JSON schema cannot be followed ({said})") from None
