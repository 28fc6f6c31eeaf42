"""All layers learn from guesses at requests without a label."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.stage import Bench
from tokenworks.line.train._classify_full import Asked, Loop, train_full
from tokenworks.line.train._encoder_torch import embed_rows, load_encoder, prepare
from tokenworks.line.train._tokens import tokenize
from tokenworks.line.train._unlabelled import spread


@given(count=st.integers(0, 200), most=st.integers(0, 100))
def test_requests_are_picked_evenly_each_once(count, most):
    picked = spread(range(count), most)
    assert len(picked) == min(count, most)
    assert picked == sorted(set(picked))
    if 2 <= most < count:
        assert (picked[0], picked[-1]) == (0, count - 1)
        assert np.ptp(np.diff(picked)) <= 1


def test_guesses_change_what_is_learned_and_the_held_out_rows_stay_out(tmp_path, tiny_bert):
    prepare(1)
    texts = [f"{word} number {n}" for n in range(120) for word in ("card", "money")]
    rows, targets = tokenize(tiny_bert, texts), torch.tensor([0, 1] * 120)
    asked_rows = tokenize(tiny_bert, [f"{word} again {n}" for n in range(60) for word in ("card", "money")])

    def made(asked_rows):
        encoder = load_encoder(tiny_bert)
        asked = Asked(rows=asked_rows, frozen=embed_rows(encoder, asked_rows, bf16=False)) if asked_rows else None
        scratch = tmp_path / str(len(asked_rows))
        scratch.mkdir()
        loop = Loop(steps=6, batch=16, bf16=False, seed=0, strength=10.0)
        frozen = embed_rows(encoder, rows, bf16=False)
        bench = Bench(None, scratch, scratch, threads=1)
        return train_full(encoder, rows, targets, frozen, loop, bench, asked=asked)

    plain, taught = made([]), made(asked_rows)
    assert plain.held_out is not None
    assert taught.held_out is not None
    assert plain.held_out.rows == taught.held_out.rows == 24
    assert not torch.equal(plain.head[0], taught.head[0])
