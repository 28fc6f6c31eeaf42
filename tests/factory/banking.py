"""Three kinds of question to a bank, in words that the two-layer encoder knows."""

import random

import msgspec

WORDS = {
    "cards": ["card", "lost"],
    "transfers": ["transfer", "sent", "money"],
    "access": ["password", "app", "account"],
}
FILLING = ["the", "a", "is", "what", "of", "to", "my", "help", "please", "late", "fee", "bank"]
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
    rows, seen = [], set()
    while len(rows) < count:
        label = rng.choice(sorted(WORDS))
        words = rng.sample(FILLING, 4) + rng.sample(WORDS[label], 2)
        rng.shuffle(words)
        text = " ".join(words)
        if text not in seen:
            seen.add(text)
            rows.append({"text": text, "label": label})
    return rows


def write_rows(path, rows):
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
