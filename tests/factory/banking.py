"""Three kinds of question to a bank, in a language that an encoder of two layers can learn."""

import random
import time

import msgspec

from tokenworks.core.ids import new_id
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry

# Each kind of question is made of its own letters, mostly, in words that never come back: what a bag of words cannot
# learn, and an encoder that reads letters can.
LETTERS = {"cards": "abcdefgh", "transfers": "ijklmnopq", "access": "rstuvwxyz"}
TASK = """
[task]
name = "bank"
kind = "classify"
owner = "mailto:bank@example.org"
label = "internal"
[data]
examples = "examples.jsonl"
[model]
base = "{base}"
method = "head"
[check]
held_out = 0.4
margin = 0.05
[turn]
autonomy = "{autonomy}"
"""


def questions(count, *, seed=0):
    """Return `count` rows of text and label, each text once."""
    rng = random.Random(seed)
    every = "".join(LETTERS.values())

    def word(own):
        return "".join(rng.choice(own if rng.random() < 0.7 else every) for _ in range(5))

    rows = []
    for _ in range(count):
        label = rng.choice(sorted(LETTERS))
        rows.append({"text": " ".join(word(LETTERS[label]) for _ in range(3)), "label": label})
    return rows


def write_rows(path, rows):
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))


def live(factory, rows, *, corrected=True):
    """Write `rows` down as requests to `bank`, each of a user of its own and corrected, as the gateway does."""
    for number, row in enumerate(rows):
        request, feedback = new_id("req"), new_id("fb")
        factory.bodies.put(
            request,
            b'{"model":"bank","input":"%s"}' % row["text"].encode(),
            b'{"data":[{"index":0,"label":"cards","probs":[0.5,0.3,0.2]}]}',
        )
        who = {"tenant": "default", "key_id": "key-1", "user": f"{number:016d}"}
        at = time.time()
        factory.ledger.append(
            RequestEntry(
                at=at, request_id=request, endpoint="classify", outcome="ok", status=200, model="bank",
                version="bank@1", label="internal", latency_s=0.01, **who,
            )
        )  # fmt: skip
        if corrected:
            factory.bodies.put_correction(feedback, row["label"])
            factory.ledger.append(
                FeedbackEntry(at=at, feedback_id=feedback, request_id=request, has_correction=True, **who)
            )
