"""The check digits of cards, accounts and numbers that states give to people."""

from __future__ import annotations

IBAN_LENGTHS = {  # ISO 13616 registry
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
    "XK": 20,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """Tell whether `digits` (0-9 only) pass ISO/IEC 7812-1 annex B."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card(digits: str) -> bool:
    """Tell whether `digits` are a payment card: an issuer's prefix, its length, and Luhn."""
    return 12 <= len(digits) <= 19 and _issuer(digits) and luhn(digits) and len(set(digits)) > 1


def _issuer(digits: str) -> bool:
    length, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    return (
        (digits[0] == "4" and length in (13, 16, 19))  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (two in (34, 37) and length == 15)  # American Express
        or ((300 <= three <= 305 or two in (36, 38, 39)) and length in (14, 16, 19))  # Diners
        or ((3528 <= four <= 3589) and length >= 16)  # JCB
        or (four in (1800, 2131) and length == 15)  # JCB, old
        or ((four == 6011 or 644 <= three <= 649 or two == 65) and length >= 16)  # Discover
        or (two == 62 and length >= 16)  # UnionPay
        or (two == 50 or 56 <= two <= 58 or two in (60, 61, 63, 67, 68, 69))  # Maestro, 12-19
    )


def iban(text: str) -> bool:
    """Tell whether `text` (A-Z, 0-9) is an account number: its country's length, and mod 97 (ISO 7064)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    moved = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def us_ssn(digits: str) -> bool:
    """Tell whether nine digits may be a US social security number (SSA: no area 000, 666, 900-999; no zero group)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def uk_nhs(digits: str) -> bool:
    """Tell whether ten digits are an NHS number: modulus 11 over the weights 10 to 2."""
    weighted = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True))
    return (11 - weighted % 11) % 11 == int(digits[9]) and len(set(digits)) > 1


def ip_address(text: str) -> bool:
    """Tell whether a dotted quad is somebody's address: no mask, loopback or documentation range."""
    parts = [int(part) for part in text.split(".")]
    if any(part > 255 for part in parts) or any(len(part) > 1 and part[0] == "0" for part in text.split(".")):
        return False
    first, second, third, _ = parts
    if first in (0, 127) or first >= 224:
        return False
    return (first, second, third) not in ((192, 0, 2), (198, 51, 100), (203, 0, 113))  # RFC 5737
