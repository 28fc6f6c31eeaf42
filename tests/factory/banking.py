"""Three kinds of question to a bank, in a language that an encoder of two layers can learn."""

import random

import msgspec

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
