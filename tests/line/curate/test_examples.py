from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench
from tokenworks.line.curate.examples import EXAMPLES, ExamplesParams
from tokenworks.store.artifacts import open_artifacts

PARAMS = ExamplesParams(task="route-ticket", kind="classify", examples_name="examples.jsonl", gold_name="gold.jsonl")
WORDS = ("invoice", "parcel", "refund", "login", "card", "limit", "address", "delay", "upgrade", "voucher", "seat")


def jsonl(rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def pairs(*rows: tuple[str, str]) -> bytes:
    return jsonl({"text": text, "label": label} for text, label in rows)


def many(label: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct texts that share few words, so that none is near another."""
    rng = random.Random(f"{label}{seed}")
    return [(f"{label} {number:x} " + " ".join(rng.choices(WORDS, k=8)), label) for number in range(count)]


class Stage:
    """Runs the stage on bytes and gives rows back."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = open_artifacts(str(folder / "artifacts"), cache=folder / "cache")
        self.scratch = folder / "scratch"
        self.scratch.mkdir()

    def digests(self, params: ExamplesParams = PARAMS, **files: bytes):
        inputs = {name: self.artifacts.put_bytes(data) for name, data in files.items()}
        return EXAMPLES.run(inputs, params, Bench(self.artifacts, self.scratch, self.scratch))

    def __call__(self, params: ExamplesParams = PARAMS, **files: bytes):
        found = {name: self.artifacts.get_bytes(digest) for name, digest in self.digests(params, **files).items()}
        report = json.loads(found.pop("report"))
        for account in report["accounts"].values():
            assert account["rows"] == sum(account["kept"].values()) + sum(account["set_aside"].values()), report
        return {name: [json.loads(line) for line in data.splitlines()] for name, data in found.items()} | {
            "report": report
        }

    def attempt(self, params: ExamplesParams, **files: bytes):
        try:
            return self(params, **files)
        except DataError as error:
            return error


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def texts(rows) -> set[str]:
    return {row["text"] for row in rows}


GOLD = pairs(("where is my refund for march", "billing"), ("the parcel was left in the rain", "shipping"))
TRAIN = pairs(*many("billing", 20), *many("shipping", 20))


# -- formats


@pytest.mark.parametrize(
    "header", ["text,label", "text,category", "Text, Intent ", "question,answer", "prompt,completion", "id,label,text"]
)
def test_the_usual_csv_headers_are_understood(stage: Stage, header: str):
    columns = [name.strip().lower() for name in header.split(",")]
    lines = [
        ",".join({"id": "7"}.get(name, text if name in ("text", "question", "prompt") else label) for name in columns)
        for text, label in many("billing", 10) + many("shipping", 10)
    ]
    result = stage(examples="\n".join([header, *lines]).encode(), gold=GOLD)
    assert result["train"][0] == {"text": many("billing", 1)[0][0], "label": "billing"}
    assert len(result["train"]) == 20


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_separate_too(stage: Stage, delimiter: str):
    rows = "\n".join(delimiter.join(pair) for pair in many("billing", 5) + many("shipping", 5))
    result = stage(examples=f"text{delimiter}label\n{rows}".encode("utf-8-sig"), gold=GOLD)
    assert len(result["train"]) == 10


def test_quoted_csv_texts_keep_commas_quotes_and_line_breaks(stage: Stage):
    data = b'text,label\n"one, ""two""\nthree",billing\nplain text,shipping\n'
    result = stage(examples=data, gold=GOLD)
    assert result["train"][0] == {"text": 'one, "two"\nthree', "label": "billing"}


def test_json_lines_may_hold_pairs_numbers_as_labels_and_conversations(stage: Stage):
    rows = [
        {"prompt": "the invoice is wrong", "completion": 7},
        {"messages": [{"role": "user", "content": "parcel lost"}, {"role": "assistant", "content": "8"}]},
    ]
    result = stage(examples=jsonl(rows), gold=pairs(("a seat please", "7")))
    assert result["train"] == [{"text": "the invoice is wrong", "label": "7"}, {"text": "parcel lost", "label": "8"}]


def test_a_chat_task_gets_conversations_whatever_the_form_of_its_input(stage: Stage):
    chat = ExamplesParams(task="helper", kind="chat", held_out=0.5)
    tools = [{"type": "function", "function": {"name": "look"}}]
    spoken = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "When do you open?"}]
    spoken += [{"role": "assistant", "content": "At eight."}]
    csv = "question,answer\n" + "\n".join(f"{text},answer {n}" for n, (text, _) in enumerate(many("q", 9)))
    from_csv = stage(chat, examples=csv.encode())
    assert from_csv["train"][0]["messages"][0]["role"] == "user"
    assert from_csv["train"][0]["messages"][1] == {
        "role": "assistant",
        "content": from_csv["train"][0]["messages"][1]["content"],
    }
    gold = jsonl([{"question": "Who are you", "answer": "A helper"}])
    from_jsonl = stage(chat, examples=jsonl([{"messages": spoken, "tools": tools}]), gold=gold)
    assert from_jsonl["train"] == [{"messages": spoken, "tools": tools}]


def test_equal_system_prompts_do_not_make_conversations_look_alike(stage: Stage):
    chat = ExamplesParams(task="helper", kind="chat")
    system = {"role": "system", "content": "You are a helpful assistant of the city. " * 20}
    rows = [
        {"messages": [system, {"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]}
        for text, _ in many("q", 40)
    ]
    result = stage(chat, examples=jsonl(rows))
    assert len(result["train"]) + len(result["gold"]) == 40


# -- malformed input


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "label"', r"line 3: not valid JSON"),
        ("[1, 2]", "line 3: a line must be a JSON object"),
        ('{"body": "x"}', "line 3: keys body; needed are one of text, question, prompt"),
        ('{"text": null, "label": "a"}', "line 3: text is null; needed is a string"),
        ('{"text": "x", "label": true}', "line 3: label is a bool; needed is a string"),
        ('{"text": "x", "label": " "}', "line 3: no label"),
        ('{"messages": []}', "line 3: messages must be a list of at least"),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}',
            "must be the assistant's",
        ),
        ('{"messages": [{"role": "boss", "content": "x"}, {"role": "assistant", "content": "y"}]}', "needs a role"),
        ('{"messages": [{"role": "user"}, {"role": "assistant", "content": "y"}]}', r"messages\[0\] needs content"),
        ('{"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]}', "of a user"),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_reason(stage: Stage, line: str, message: str):
    with pytest.raises(DataError, match=f"^task route-ticket: examples.jsonl {message}|{message}.*mend or remove"):
        stage(examples=pairs(*many("billing", 2)) + line.encode() + b"\n" + TRAIN, gold=GOLD)


def test_all_malformed_lines_are_listed_at_once(stage: Stage):
    with pytest.raises(DataError, match=r"line 1: .*\(2 more of 3 lines: 2, 3\); mend or remove it"):
        stage(examples=b"{\n{\n{\n")


def test_a_csv_row_with_a_bare_comma_is_named_with_the_line_it_begins_on(stage: Stage):
    data = b'text,label\n"two\nlines",billing\none, two,shipping\n'
    with pytest.raises(DataError, match=r"line 4: 3 fields, the header has 2; put texts with ',' in quotes"):
        stage(examples=data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no example"),
        (b"\n \n", "holds no example"),
        (b"text,label\n", "holds no example"),
        (b"name,city\nx,y\n", "header 'name,city' names no example; needed are a column text"),
        (b'[{"text": "x", "label": "y"}]', "a JSON array; write one object per line"),
        ("text,label\nx,y\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        (b"text,label\ncaf\xe9,billing\n", "line 2: not UTF-8 at byte 3; save it as UTF-8"),
        (b'{"text": "' + b"x" * (17 << 20) + b'"}', "line 1: longer than 16 MB"),
        (b'text,label\n"never closed,billing\n', "line 2: unexpected end of data"),
        (b"\x00\x01\x02\xff\xfe binary", "not UTF-8"),
    ],
    ids=["empty", "blank", "header only", "foreign header", "array", "utf-16", "latin-1", "endless", "quote", "binary"],
)
def test_a_file_that_cannot_be_examples_is_refused_with_the_way_out(stage: Stage, data: bytes, message: str):
    with pytest.raises(DataError, match=f"^task route-ticket: examples.jsonl.*{message}"):
        stage(examples=data)


def test_the_answer_of_an_extract_task_must_be_json_and_gets_one_form(stage: Stage):
    extract = ExamplesParams(task="invoice", kind="extract", examples_name="e.jsonl")
    good = [{"text": text, "answer": {"total": n, "a": 1}} for n, (text, _) in enumerate(many("q", 10))]
    result = stage(extract, examples=jsonl(good))
    assert result["train"][0]["messages"][1]["content"].startswith('{"a":1,"total":')
    with pytest.raises(DataError, match=r"e\.jsonl line 11: the answer of an extract task must be JSON"):
        stage(extract, examples=jsonl([*good, {"text": "x", "answer": "12 euros"}]))


def test_a_kind_without_examples_is_refused(stage: Stage):
    with pytest.raises(ConfigError, match="kind 'embed' has no examples"):
        stage(ExamplesParams(task="search", kind="embed"), examples=TRAIN)


# -- what cannot be learnt


def test_empty_texts_and_duplicates_are_left_out_and_counted(stage: Stage):
    rows = pairs(("  ", "billing"), ("My card, please!", "billing"), ("my  CARD please", "billing"))
    result = stage(examples=rows + TRAIN, gold=GOLD)
    assert result["report"]["accounts"]["examples"]["set_aside"] == {"duplicate": 1, "empty": 1}
    assert len(result["train"]) == 41


def test_a_text_with_two_labels_is_kept_out_and_listed(stage: Stage):
    rows = pairs(("Close my account", "billing"), ("close my account", "shipping"), ("close my account.", "billing"))
    result = stage(examples=rows + TRAIN, gold=GOLD)
    assert "close my account" not in {text.lower().strip(".") for text in texts(result["train"])}
    assert result["report"]["contradicting"] == 1
    assert result["report"]["contradictions"] == [
        {"text": "Close my account", "answers": {"billing": [1], "shipping": [2]}}
    ]


def test_a_chat_may_have_two_good_answers_to_one_question(stage: Stage):
    chat = ExamplesParams(task="helper", kind="chat")
    rows = [{"question": "hello", "answer": "hi"}, {"question": "hello", "answer": "good day"}] * 2
    result = stage(chat, examples=jsonl(rows), gold=jsonl([{"question": "bye", "answer": "bye"}]))
    assert len(result["train"]) == 2
    assert result["report"]["accounts"]["examples"]["set_aside"] == {"duplicate": 2}


def test_one_class_is_no_task(stage: Stage):
    with pytest.raises(
        DataError, match='all 20 examples are of the one class "billing"; a classifier needs at least two'
    ):
        stage(examples=pairs(*many("billing", 20)))


def test_a_class_with_few_examples_and_one_without_gold_are_named(stage: Stage):
    result = stage(examples=TRAIN + pairs(("just this one", "praise")), gold=GOLD)
    assert result["report"]["few"] == ["praise"]
    assert result["report"]["unmeasured"] == ["praise"]


# -- gold given as a file


def test_a_label_that_training_does_not_have_is_named_with_the_nearest(stage: Stage):
    gold = GOLD + pairs(("what is this charge", "biling"))
    with pytest.raises(
        DataError,
        match=r'^task route-ticket: gold\.jsonl line 3: label "biling" is not among the 2 classes; nearest "billing"$',
    ):
        stage(examples=TRAIN, gold=gold)
    with pytest.raises(DataError, match=r"there are: billing, shipping"):
        stage(examples=TRAIN, gold=pairs(("x", "zzz")))


def test_a_gold_item_never_trains_even_when_it_is_written_otherwise(stage: Stage):
    leaks = pairs(
        ("Where is my REFUND for march?", "billing"),  # the same but for case and marks
        ("the parcel was left in the rain again", "shipping"),  # nearly
    )
    long = "my parcel with the number {} was left standing in the rain in front of the wrong door all weekend long"
    near = pairs((long.format("12345"), "shipping"))
    result = stage(examples=leaks + pairs((long.format("12346"), "shipping")) + TRAIN, gold=GOLD + near)
    assert result["report"]["accounts"]["examples"]["set_aside"] == {"in gold": 1, "near gold": 1}
    assert "the parcel was left in the rain again" in texts(result["train"])  # 0.8 alike: another text
    assert len(result["gold"]) == 3


def test_a_near_text_with_another_answer_is_a_contrast_and_stays(stage: Stage):
    long = "please {}freeze my card because i lost it in a shop in the middle of the city on my way home yesterday"
    gold = pairs((long.format(""), "billing"))
    result = stage(examples=TRAIN + pairs((long.format("un"), "shipping")), gold=gold)
    assert long.format("un") in texts(result["train"])


def test_a_gold_file_with_faults_is_cleaned_by_the_same_rules(stage: Stage):
    gold = GOLD + pairs(("where is my refund for march", "billing"), ("odd", "billing"), ("ODD", "shipping"), ("", "x"))
    result = stage(examples=TRAIN, gold=gold)
    assert result["report"]["accounts"]["gold"] == {
        "rows": 6,
        "kept": {"gold": 2},
        "set_aside": {"contradicting": 2, "duplicate": 1, "empty": 1},
    }


def test_a_class_whose_every_example_is_gold_is_an_error(stage: Stage):
    data = pairs(*many("billing", 9), ("only one", "praise"))
    with pytest.raises(DataError, match=r'class "praise" has no example left to train on \(1 in gold'):
        stage(examples=data, gold=pairs(("only one", "praise")))


def test_a_group_of_the_gold_file_does_not_train(stage: Stage):
    rows = jsonl({"text": text, "label": label, "group": f"customer {n % 5}"} for n, (text, label) in enumerate(
        many("billing", 20) + many("shipping", 20)))  # fmt: skip
    gold = jsonl([{"text": "something else entirely", "label": "billing", "group": "customer 3"}])
    result = stage(examples=rows, gold=gold)
    assert result["report"]["accounts"]["examples"]["set_aside"] == {"group in gold": 8}


# -- gold held out by hash


def test_without_a_gold_file_a_part_of_each_class_is_held_out(stage: Stage):
    rows = [row for label in "abcdefgh" for row in many(label, 200)]
    result = stage(examples=pairs(*rows))
    shares = [count["gold"] / 200 for count in result["report"]["classes"].values()]
    assert all(0.1 < share < 0.3 for share in shares)
    assert len(result["gold"]) + len(result["train"]) == 1600
    assert result["report"]["held_out_by"] == "hash"


def test_every_class_of_ten_or_more_is_measured_and_none_is_left_untrained(stage: Stage):
    sizes = {f"class{n:03d}": 1 + n % 12 for n in range(80)}
    result = stage(examples=pairs(*(row for label, size in sizes.items() for row in many(label, size))))
    counts = result["report"]["classes"]
    assert all(counts[label]["train"] > 0 for label in sizes)
    assert all(counts[label]["gold"] > 0 for label, size in sizes.items() if size >= 10)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    grown=st.lists(st.integers(0, 30), min_size=6, max_size=6),
    seed=st.integers(-3, 3),
)
def test_what_was_once_held_out_is_never_trained_on_when_the_set_grows(tmp_path_factory, sizes, grown, seed):
    stage = Stage(tmp_path_factory.mktemp("growth"))
    params = ExamplesParams(task="t", kind="classify", seed=seed)
    old = [row for number, size in enumerate(sizes) for row in many(f"class{number}", size)]
    new = [row for number, more in enumerate(grown) for row in many(f"class{number}", 60)[30 : 30 + more]]
    before = stage.attempt(params, examples=pairs(*old))
    if isinstance(before, DataError):
        assert "nothing is left to measure on" in str(before)  # too small for gold
        return
    after = stage(params, examples=pairs(*old, *new))
    assert texts(before["gold"]) <= texts(after["gold"])
    assert not texts(before["gold"]) & texts(after["train"])


def test_rows_of_one_group_stay_on_one_side(stage: Stage):
    rows = [
        {"text": text, "label": label, "group": f"thread {n % 40}"}
        for n, (text, label) in enumerate(many("billing", 200) + many("shipping", 200))
    ]
    result = stage(examples=jsonl(rows))
    group_of = {row["text"]: row["group"] for row in rows}
    sides = [{group_of[text] for text in texts(result[name])} for name in ("train", "gold")]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_too_few_examples_to_hold_any_out_is_an_error_that_says_what_to_add(stage: Stage):
    with pytest.raises(DataError, match=r"nothing is left to measure on; add examples, or a gold file"):
        stage(examples=pairs(("a", "x"), ("b", "y")))


# -- corrections


def correction(text: str, label: str, at: float, request: str = "r") -> dict:
    return {"text": text, "label": label, "request_id": request, "at": at}


def test_the_latest_correction_wins_over_earlier_ones_and_over_the_example(stage: Stage):
    text = many("billing", 1)[0][0]
    params = ExamplesParams(task="t", kind="classify", fresh=0.0)
    late_first = [correction(text, "shipping", 9.0), correction(text.upper(), "billing", 5.0)]
    result = stage(params, examples=TRAIN, gold=GOLD, corrections=jsonl(late_first))
    assert [row for row in result["train"] if row["text"] == text] == [{"text": text, "label": "shipping"}]
    assert result["report"]["accounts"]["corrections"] == {
        "rows": 2,
        "kept": {"train": 1},
        "set_aside": {"superseded": 1},
    }
    assert result["report"]["accounts"]["examples"]["set_aside"] == {"corrected": 1}


def test_a_correction_settles_a_contradiction(stage: Stage):
    rows = pairs(("close my account", "billing"), ("close my account", "shipping"))
    params = ExamplesParams(task="t", kind="classify", fresh=0.0)
    said = jsonl([correction("close my account", "billing", 1.0)])
    result = stage(params, examples=rows + TRAIN, gold=GOLD, corrections=said)
    assert [row for row in result["train"] if row["text"] == "close my account"] == [
        {"text": "close my account", "label": "billing"}
    ]


def test_a_part_of_the_corrections_is_only_measured_on_and_stays_so(stage: Stage):
    said = [correction(text, "shipping", n) for n, (text, _) in enumerate(many("new", 100))]
    first = stage(examples=TRAIN, gold=GOLD, corrections=jsonl(said[:50]))
    later = stage(examples=TRAIN, gold=GOLD, corrections=jsonl(reversed(said)))
    assert 10 <= len(later["fresh"]) <= 30
    assert texts(first["fresh"]) <= texts(later["fresh"])
    assert not texts(later["fresh"]) & texts(later["train"])


def test_what_was_selected_as_fresh_is_fresh_and_nothing_else_is(stage: Stage):
    learned = [{"text": text, "label": label} for text, label in many("billing", 30, seed=5)]
    measured = [{"text": text, "label": label} for text, label in many("shipping", 9, seed=6)]
    leak = {"text": "where is my refund for march", "label": "billing"}  # a gold text
    result = stage(examples=TRAIN, gold=GOLD, corrections=jsonl(learned), fresh=jsonl([*measured, leak]))
    assert texts(result["fresh"]) == texts(measured)
    assert texts(learned) <= texts(result["train"])
    assert not texts(measured) & texts(result["train"])
    assert result["report"]["accounts"]["corrections"]["set_aside"]["in gold"] == 1


def test_an_empty_fresh_part_means_that_all_corrections_are_trained_on(stage: Stage):
    said = [{"text": text, "label": label} for text, label in many("billing", 30, seed=5)]
    result = stage(examples=TRAIN, gold=GOLD, corrections=jsonl(said), fresh=b"")
    assert result["fresh"] == []
    assert texts(said) <= texts(result["train"])


def test_the_example_behind_a_fresh_correction_does_not_train(stage: Stage):
    said = [correction(text, "shipping", n) for n, (text, _) in enumerate(many("billing", 20))]
    params = ExamplesParams(task="t", kind="classify", fresh=0.99)
    with pytest.raises(DataError, match=r'class "billing" has no example left.*held out as fresh'):
        stage(params, examples=TRAIN, gold=GOLD, corrections=jsonl(said))


def test_a_correction_of_a_gold_text_is_listed_as_a_dispute_and_never_trains(stage: Stage):
    said = jsonl([correction("Where is my refund for March?", "shipping", 1.0)])
    result = stage(examples=TRAIN, gold=GOLD, corrections=said)
    assert result["report"]["disputed"] == ["where is my refund for march"]
    assert result["report"]["accounts"]["corrections"]["set_aside"] == {"in gold": 1}
    assert {"text": "where is my refund for march", "label": "billing"} in result["gold"]


def test_a_correction_relabels_a_text_that_was_held_out_by_hash(stage: Stage):
    plain = stage(examples=TRAIN)
    chosen = next(row for row in plain["gold"] if row["label"] == "billing")
    said = jsonl([correction(chosen["text"], "shipping", 1.0)])
    result = stage(examples=TRAIN, corrections=said)
    assert {"text": chosen["text"], "label": "shipping"} in result["gold"]
    assert texts(result["gold"]) == texts(plain["gold"])


def test_corrections_that_cannot_be_used_are_counted_and_stop_nothing(stage: Stage):
    lines = jsonl([correction("new text", "no such class", 1.0), correction(" ", "billing", 1.0)]) + b"{broken\n"
    result = stage(examples=TRAIN, gold=GOLD, corrections=lines)
    assert result["report"]["accounts"]["corrections"]["set_aside"] == {
        "empty": 1,
        "malformed": 1,
        "unknown label": 1,
    }


def test_an_empty_list_of_corrections_changes_nothing(stage: Stage):
    without, with_none = stage(examples=TRAIN, gold=GOLD), stage(examples=TRAIN, gold=GOLD, corrections=b"")
    assert without == with_none


# -- the whole


_TEXT = st.text(st.sampled_from("ab ?!Ä"), max_size=6)
_ROWS = st.lists(st.tuples(_TEXT, st.sampled_from(["x", "y", "z"])), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows=_ROWS, gold=st.none() | _ROWS, said=st.none() | _ROWS)
def test_nothing_measured_is_trained_on_and_every_row_is_accounted_for(tmp_path_factory, rows, gold, said):
    from tokenworks.line.curate._texts import key_of

    stage = Stage(tmp_path_factory.mktemp("any"))
    files = {"examples": pairs(*rows)}
    files |= {} if gold is None else {"gold": pairs(*gold)}
    files |= {} if said is None else {"corrections": jsonl(correction(t, a, n) for n, (t, a) in enumerate(said))}
    result = stage.attempt(PARAMS, **files)
    if isinstance(result, DataError):
        assert str(result).startswith("task route-ticket: ")
        return
    keys = {name: [key_of(row["text"]) for row in result[name]] for name in ("train", "gold", "fresh")}
    assert not set(keys["train"]) & {*keys["gold"], *keys["fresh"]}
    assert all(len(each) == len(set(each)) for each in keys.values())


def test_equal_inputs_give_equal_digests_and_a_half_written_scratch_does_no_harm(stage: Stage):
    said = jsonl([correction(text, "shipping", n) for n, (text, _) in enumerate(many("new", 30))])
    first = stage.digests(examples=TRAIN, corrections=said)
    for path in stage.scratch.iterdir():
        path.write_bytes(b"half a line")
    assert stage.digests(examples=TRAIN, corrections=said) == first


def test_the_bank_customer_set_is_divided_without_loss(stage: Stage, data_folder: Path):
    folder = data_folder / "instruct-eval" / "banking77"
    result = stage(examples=(folder / "train.csv").read_bytes(), gold=(folder / "test.csv").read_bytes())
    report = result["report"]
    assert len(report["classes"]) == 77
    assert report["accounts"]["examples"]["rows"] == 10_003
    assert report["gold"] > 3_050
    assert report["train"] > 9_800


def test_word_problems_become_conversations(stage: Stage, data_folder: Path):
    source = next((data_folder / "instruct-eval" / "gsm8k").glob("train*.jsonl")).read_bytes()
    part = b"\n".join(source.splitlines()[:500])
    result = stage(ExamplesParams(task="maths", kind="chat"), examples=part)
    assert len(result["train"]) + len(result["gold"]) > 490
    assert [each["role"] for each in result["train"][0]["messages"]] == ["user", "assistant"]
