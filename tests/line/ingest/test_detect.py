from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.line.ingest import detect
from tokenworks.line.ingest.detect import checksums
from tokenworks.line.ingest.detect.dictionary import Terms
from tokenworks.line.ingest.detect.finding import Finding
from tokenworks.line.ingest.detect.secrets import entropy

OF = {
    "CREDIT_CARD": "credit-card",
    "IBAN_CODE": "iban",
    "PHONE_NUMBER": "phone",
    "US_SSN": "us-ssn",
    "EMAIL_ADDRESS": "email",
    "IP_ADDRESS": "ip-address",
}


def kinds(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in detect.find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to jane.doe+x@mail.example.co.uk, please", "email", "jane.doe+x@mail.example.co.uk"),
        ("<jo@sub.firma.de>", "email", "jo@sub.firma.de"),
        ("pay with 4111-1111-1111-1111 today", "credit-card", "4111-1111-1111-1111"),
        ("amex 378282246310005.", "credit-card", "378282246310005"),
        ("to DE89 3704 0044 0532 0130 00 by Friday", "iban", "DE89 3704 0044 0532 0130 00"),
        ("to gb82west12345698765432", "iban", "gb82west12345698765432"),
        ("SSN 123-45-6789", "us-ssn", "123-45-6789"),
        ("NHS number 943 476 5919", "uk-nhs", "943 476 5919"),
        ("host 81.2.69.142 answered", "ip-address", "81.2.69.142"),
        ("on 2001:0db8:85a3:0000:0000:8a2e:0370:7334 now", "ip-address", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        ("ring +49 30 901820 at nine", "phone", "+49 30 901820"),
        ("(415) 844-9759 is the desk", "phone", "(415) 844-9759"),
        ("call 079 2718 1155", "phone", "079 2718 1155"),
    ],
)
def test_structured_personal_data_is_found_exactly(text, kind, value):
    assert kinds(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "version 10.2.3.4 of the package",
        "listening on 127.0.0.1 and 0.0.0.0, documented as 192.0.2.7",
        "order 1234567890123456 shipped",
        "on 2024-03-15 and 15.03.2024 we met",
        "articles/4409607962387-Cloud",
        "DE89 3704 0044 0532 0130 01 has a wrong check digit",
        "000-12-3456 and 666-12-3456 and 900-12-3456",
        "someone@example.com",
        "a @decorator and x@y",
        "SHA 0123456789abcdef0123456789abcdef01234567",
        "between 1,000,000 and 2,000,000 rows in 1966-1990",
    ],
)
def test_numbers_and_words_of_no_person_are_left_alone(text):
    assert kinds(text) == []


KEY = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("AKIA" + "2E0A8F3B244C9986".replace("0", "2").replace("8", "3").replace("9", "5"), "aws-access-key", None),
        ("token: ghp_" + KEY, "github-token", "ghp_" + KEY),
        ("glpat-" + KEY[:20] + " is set", "gitlab-token", "glpat-" + KEY[:20]),
        ("xoxp-858723095049-581481478633-908968721956", "slack-token", None),
        ("postgres://admin:s3cr3tPw@db.internal/x", "url-password", "s3cr3tPw"),
        ("root:$6$Xy12abcd$" + KEY * 2 + ":18000", "password-hash", None),
        ("Authorization: Bearer " + KEY, "bearer", KEY),
        ("DB_PASSWORD=hunter22", "assigned", "hunter22"),
        ('{"password": "hunter22"}', "assigned", "hunter22"),
        ("api_key = '" + KEY + "'", "assigned", KEY),
        ("<Pass>tiger99</Pass>", "assigned", "tiger99"),
        ("machine host login me password tiger99", "assigned", "tiger99"),
        ("db.host:5432:main:root:tiger99", "pgpass", "tiger99"),
        ("sk_live_" + KEY, "stripe-key", "sk_live_" + KEY),
    ],
)
def test_secrets_are_found(text, kind, value):
    got = [(name, found) for name, found in kinds(text) if name.startswith("secret:")]
    assert [name for name, _ in got] == [f"secret:{kind}"]
    assert value is None or got[0][1] == value


def test_a_private_key_is_one_finding():
    body = "\n".join(KEY * 2 for _ in range(10))
    text = f"before\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nafter"
    assert [kind for kind, _ in kinds(text)] == ["secret:private-key"]
    assert detect.mask(text, detect.find(text)).startswith("before\n[secret:private-key]")


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass.getpass()",
        "password: str",
        "token = self._next_token()",
        'key = "name"',
        "PASSWORD=${DB_PASSWORD}",
        "api_key = os.environ['API_KEY']",
        'password: "your-password-here"',
        "secret: <redacted>",
        "the token is then passed on",
        "cache_key = f'{a}-{b}'",
        "https://user:{password}@host/",
        "for key, value in pairs:",
    ],
)
def test_code_and_placeholders_are_no_secrets(text):
    assert kinds(text) == []


def test_structured_types_reach_99_percent_on_the_labelled_sentences(data_folder: Path):
    hit: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for line in (data_folder / "security-cases" / "presidio" / "pii-spans.jsonl").read_bytes().splitlines():
        row = msgspec.json.decode(line)
        found = detect.find(row["full_text"])
        matched: set[int] = set()
        for span in row["spans"]:
            kind = OF.get(span["entity_type"])
            if kind is None:
                continue
            here = [
                number
                for number, each in enumerate(found)
                if each.kind == kind and each.start < span["end_position"] and each.end > span["start_position"]
            ]
            (hit if here else missed)[kind] += 1
            matched.update(here)
        false.update(each.kind for number, each in enumerate(found) if number not in matched)
    recall = {kind: hit[kind] / (hit[kind] + missed[kind]) for kind in OF.values()}
    checked = ("credit-card", "iban", "us-ssn", "email", "ip-address")
    assert all(recall[kind] >= 0.99 for kind in checked), recall
    assert recall["phone"] >= 0.95, recall
    assert all(false[kind] <= 0.01 * hit[kind] for kind in checked), false
    assert false["phone"] <= 0.05 * hit["phone"]


def test_most_files_with_secrets_are_noticed(data_folder: Path):
    rows = [
        msgspec.json.decode(line)
        for line in (data_folder / "security-cases" / "secrets" / "leaky-repo.jsonl").read_bytes().splitlines()
    ]
    leaking = [row for row in rows if row["risk_lines"]]
    noticed = sum(any(kind.startswith("secret:") for kind, _ in kinds(row["text"])) for row in leaking)
    assert noticed / len(leaking) >= 0.9


def test_handbook_pages_are_not_full_of_secrets(data_folder: Path):
    pages = sorted((data_folder / "docs-enterprise" / "18f-handbook").rglob("*.md"))[:200]
    found = [
        each for page in pages for each in kinds(page.read_text(errors="replace")) if each[0].startswith("secret:")
    ]
    assert len(found) <= 0.03 * len(pages), found


@given(st.text(max_size=300))
def test_findings_lie_in_the_text_in_order_and_apart(text):
    end = 0
    for finding in detect.find(text):
        assert end <= finding.start < finding.end <= len(text)
        end = finding.end


@given(st.text(st.sampled_from("ab@. 0123456789-+()=:/"), max_size=400))
def test_masking_leaves_everything_else(text):
    findings = detect.find(text)
    masked = detect.mask(text, findings)
    removed = sum(finding.end - finding.start for finding in findings)
    added = sum(len(finding.kind) + 2 for finding in findings)
    assert len(masked) == len(text) - removed + added


def test_a_secret_wins_over_what_looks_personal_inside_it():
    findings = [Finding("email", 0, 10), Finding("secret:url-password", 4, 8)]
    assert detect.mask("0123456789", findings) == "0123[secret:url-password]89"


def test_dictionary_values_are_found_exactly_at_word_borders_whatever_the_case():
    terms = Terms({"projects": ["Blue Heron", "X-42", "blue heron two"]})
    text = "BLUE HERON, blue herons, blue heron two and x-42 but not x-421"
    assert [text[each.start : each.end] for each in terms.find(text)] == ["BLUE HERON", "blue heron two", "x-42"]
    assert Terms({}).find(text) == []


def test_ten_thousand_dictionary_values_cost_one_pass():
    values = [f"customer {number}" for number in range(10_000)]
    found = Terms({"customers": values}).find("see customer 77 and customer 9999 and customer 10001")
    assert len(found) == 2


def luhn_complete(digits: str) -> str:
    return next(digits + str(last) for last in range(10) if checksums.luhn(digits + str(last)))


@given(st.integers(0, 10**14 - 1))
def test_any_changed_digit_breaks_a_card(number):
    card = luhn_complete("4" + f"{number:014d}")
    assert checksums.luhn(card)
    place = random.Random(number).randrange(16)
    changed = card[:place] + str((int(card[place]) + 1) % 10) + card[place + 1 :]
    assert not checksums.luhn(changed)


@pytest.mark.parametrize("iban", ["GB82WEST12345698765432", "DE89370400440532013000", "NO9386011117947"])
def test_known_account_numbers_pass_and_swapped_digits_do_not(iban):
    assert checksums.iban(iban)
    assert not checksums.iban(iban[:-2] + iban[-1] + iban[-2]) or iban[-1] == iban[-2]
    assert not checksums.iban(iban + "0")


def test_entropy_is_zero_for_one_letter_and_one_bit_for_two():
    assert entropy("aaaa") == 0
    assert entropy("abab") == 1
