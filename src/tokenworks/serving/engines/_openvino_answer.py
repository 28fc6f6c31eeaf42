"""One choice that OpenVINO GenAI makes, on its way from token ids to text."""

from __future__ import annotations

import asyncio
from typing import Any

from tokenworks.core.errors import EngineError
from tokenworks.serving.engine import Piece, Sampling, TokenLogprob
from tokenworks.serving.tokens import StopFilter, Tokens


class Answer:
    """A choice under way; `handle` is the library's, `arrived` takes what is told of it."""

    def __init__(
        self,
        handle: Any,
        tokens: Tokens,
        sampling: Sampling,
        index: int,
        arrived: asyncio.Queue[Any],
        again: tuple[int, ...],
    ) -> None:
        import openvino_genai as genai  # loaded by `load` already

        self.handle, self.arrived = handle, arrived
        self._tokens, self._index = tokens, index
        self._stream, self._stop = tokens.stream(), StopFilter(sampling.stop)
        self._again = again  # tokens that another engine told already, and that are made again
        for group in sampling.seen:
            self._stop.feed(self._stream.feed(group))
        self._logprobs = sampling.logprobs is not None
        self._eager = bool(sampling.stop)  # a stop string must end the work at once
        self._due_s = float("inf") if sampling.unwatched else 0.0
        self._status, self._reason = genai.GenerationStatus, genai.GenerationFinishReason

    def advance(self, now: float, pause_s: float) -> bool:
        """Hand out what is due at `now`, monotonic seconds; return whether the answer is complete.

        The next piece is due after `pause_s`, unless the answer ends before.
        """
        status = self.handle.get_status()
        running = status == self._status.RUNNING
        if running and not self._eager and now < self._due_s:
            return False
        if status == self._status.IGNORED:
            self.arrived.put_nowait(EngineError("no room for this answer's keys and values; ask for fewer tokens"))
            return True
        ids: list[int] = []
        scores: list[float] = []
        reason = None
        while self.handle.can_read():
            for output in self.handle.read().values():
                ids += output.generated_ids
                scores += output.generated_log_probs
                if output.finish_reason != self._reason.NONE:
                    reason = "length" if output.finish_reason == self._reason.LENGTH else "stop"
        if self._again:
            made, count = tuple(ids), min(len(ids), len(self._again))
            if made[:count] != self._again[:count] or (not running and count < len(self._again)):
                self.arrived.put_nowait(
                    EngineError("this engine makes other tokens than the one that began the answer")
                )
                self.handle.cancel()
                return True
            ids, scores, self._again = ids[count:], scores[count:], self._again[count:]
        if not ids and running:
            return False
        text = self._stop.feed(self._stream.feed(ids))
        if self._stop.stopped:
            reason = "stop"
            self.handle.cancel()
        elif not running:
            reason = reason or "stop"
            text += self._stop.feed(self._stream.finish()) + self._stop.finish()
        self._due_s = max(self._due_s, now + pause_s)
        chosen = tuple(TokenLogprob(token=self._tokens.text_of(i), logprob=s) for i, s in zip(ids, scores, strict=True))
        self.arrived.put_nowait(
            Piece(
                index=self._index,
                text=text,
                tokens=len(ids),
                ids=tuple(ids),
                finish_reason=reason,
                stop=self._stop.found,
                logprobs=chosen if self._logprobs else (),
            )
        )
        return reason is not None
