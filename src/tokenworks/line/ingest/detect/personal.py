"""Structured personal data: what has a form, and where possible a check digit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tokenworks.line.ingest.detect import checksums
from tokenworks.line.ingest.detect.finding import Finding

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}(?![\w@])")
_NO_DOMAIN = ("example.com", "example.org", "example.net", "localhost")  # RFC 2606: nobody's
_DIGITS = re.compile(
    r"(?<![\w.])(?:\+|\(|\d)[\d ().\-/\u2010-\u2013\xa0]{5,30}\d(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?(?![\w])"
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?(?![A-Za-z0-9])"
)
_QUAD = re.compile(r"\d+\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w]|\.\d)")  # begins with a class: found at memory speed
_IP6 = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])")
_TWO_GROUPS = re.compile(r":[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}:")  # begins with a letter: a look before the search
_PART_OF_A_VERSION = re.compile(r"(?i:[\w.]|\bversion[ ]?|\brelease[ ]|[=<>~]=[ ]?)\Z")
_SSN = re.compile(r"\d{3}([- ])\d{2}\1\d{4}")
_NON_DIGIT = re.compile(r"\D")
_NHS_WORDS = re.compile(r"\bNHS\b")
_PHONE_WORDS = re.compile(
    r"(?:\b(?:tele)?phone|\btel\b|\bmobile|\bcell\b|\bcall|\bfax\b|\bnumber|\bdial|\bring\b|\bcontact|\bhotline|\bsms\b|"
    r"\bwhatsapp|\banswering at|\breach|\bdesk\b|\boffice\b)",
    re.I,
)
_NOT_PHONE = re.compile(
    r"(?i:licen[cs]e|account|routing|control|invoice|order|serial|issue|ticket|case|passport)[^.\n]*\Z"
)
_IN_A_NAME = re.compile(r"(?:[/=#&?@_-]|://\S*)\Z")  # part of an address or of an identifier
_NEAR = 60  # characters in which a word can say what a number is
_DATE = re.compile(r"(?:(?:19|20)\d\d[-/. ]\d{1,2}[-/. ]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)\d\d)(?!\d)")
_CARD_WORDS = re.compile(r"(?i:card|visa|mastercard|amex|maestro|\bpan\b)[^\n]{0,30}\Z")

KINDS = ("email", "iban", "ip-address", "credit-card", "us-ssn", "uk-nhs", "phone")


def find_personal(text: str) -> list[Finding]:
    """Return e-mail and IP addresses, phone and card numbers, IBANs, US SSNs and NHS numbers in `text`."""
    return [*_emails(text), *_ibans(text), *_addresses(text), *_numbers(text)]


def _emails(text: str) -> Iterator[Finding]:
    at = text.find("@")
    while at > 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.search(text, max(0, at - 64), at) if domain else None
        if domain and local and domain[0].lower() not in _NO_DOMAIN:
            start = local.start() + len(local[0]) - len(local[0].lstrip(".'`*_{|/=&"))
            if start < at:
                yield Finding("email", start, domain.end())
        at = text.find("@", at + 1)


def _ibans(text: str) -> Iterator[Finding]:
    for found in _IBAN.finditer(text):
        compact = re.sub(r"[ -]", "", found[0]).upper()
        length = checksums.IBAN_LENGTHS.get(compact[:2], 0)
        for size in {len(compact), length}:  # the words after it may have been taken for its last groups
            if 0 < size <= len(compact) and checksums.iban(compact[:size]):
                yield Finding("iban", found.start(), _end_of(found[0], size) + found.start())
                break


def _end_of(text: str, characters: int) -> int:
    """Return the index after the first `characters` letters or digits of `text`."""
    for index, character in enumerate(text):
        characters -= character not in " -"
        if not characters:
            return index + 1
    return len(text)


def _addresses(text: str) -> Iterator[Finding]:
    for found in _QUAD.finditer(text):
        before = text[max(0, found.start() - 9) : found.start()]
        if checksums.ip_address(found[0]) and not _PART_OF_A_VERSION.search(before):
            yield Finding("ip-address", *found.span())
    for found in _IP6.finditer(text) if _TWO_GROUPS.search(text) else ():
        yield Finding("ip-address", *found.span())


def _numbers(text: str) -> Iterator[Finding]:
    for found in _DIGITS.finditer(text):
        if kind := _kind(text, found):
            yield Finding(kind, *found.span())


def _kind(text: str, found: re.Match[str]) -> str:
    """Say what a run of digits with separators is, the surest first."""
    raw = found[0]
    digits = _NON_DIGIT.sub("", raw)
    before = text[max(0, found.start() - _NEAR) : found.start()]
    if _card(raw, digits, before):
        return "credit-card"
    if _SSN.fullmatch(raw) and checksums.us_ssn(digits):
        return "us-ssn"
    if len(digits) == 10 and _NHS_WORDS.search(before) and checksums.uk_nhs(digits):
        return "uk-nhs"
    return "phone" if _phone(raw, digits, before, text[found.end() : found.end() + _NEAR]) else ""


def _card(raw: str, digits: str, before: str) -> bool:
    """A card by its check digit, or because the text calls it one: people mistype and documents mask a digit."""
    if not 12 <= len(digits) <= 19 or not _card_shape(raw) or _IN_A_NAME.search(before):
        return False
    return checksums.card(digits) or (len(set(digits)) > 3 and bool(_CARD_WORDS.search(before)))


def _card_shape(raw: str) -> bool:
    return raw.isdigit() or bool(re.fullmatch(r"\d{3,6}(?:([ -])\d{2,7})(?:\1\d{2,7})*", raw))


def _phone(raw: str, digits: str, before: str, after: str) -> bool:
    """A phone by its international or grouped form, or because a word near it says so (E.164: 7-15 digits)."""
    number = re.split(r"x|ext", raw)[0]
    count = len(_NON_DIGIT.sub("", number))
    if not 7 <= count <= 15 or _DATE.match(raw) or len(set(digits)) < 3:
        return False
    if _IN_A_NAME.search(before) or _NOT_PHONE.search(before):
        return False
    if re.fullmatch(r"\+\d[\d ().-]{6,}", number.strip()) and count >= 8:
        return True
    if re.fullmatch(r"(?:1[ .-])?(?:\(\d{3}\)[ ]?|\d{3}[-.])\d{3}[-.]\d{4}", number.strip()):  # North America
        return True
    return bool(_PHONE_WORDS.search(before) or _PHONE_WORDS.search(after))
