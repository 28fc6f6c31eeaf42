"""Secrets by the marks that their issuers give them, and by what is assigned to a name like `password`.

A rule runs only where one of its words stands in the text, so that most documents cost a few `in` tests.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from tokenworks.line.ingest.detect.finding import Finding


class _Rule(msgspec.Struct, frozen=True):
    """`pattern` finds the secret in group 1, or in all of it; below `entropy` bits a character it is a placeholder."""

    name: str
    words: tuple[str, ...]  # lower case
    pattern: re.Pattern[str]
    entropy: float = 0.0


def _rule(name: str, words: str, pattern: str, entropy: float = 0.0) -> _Rule:
    return _Rule(f"secret:{name}", tuple(words.split()), re.compile(pattern), entropy)


_B = r"(?<![A-Za-z0-9_-])"  # no letter, digit or joiner before
_E = r"(?![A-Za-z0-9_-])"
_MARKED = (  # forms as the issuers document them
    _rule(
        "private-key",
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.\\-]{60,}?-----END",
    ),
    _rule("putty-key", "private-lines", r"Private-Lines: \d+\s+((?:[A-Za-z0-9+/=]{20,}\s+)+)"),
    _rule("aws-access-key", "akia asia abia acca", _B + r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})" + _E, 3.0),
    _rule(
        "github-token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        _B + r"(gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})" + _E,
        3.0,
    ),
    _rule("gitlab-token", "glpat- glrt- gldt- glptt-", _B + r"(gl(?:pat|rt|dt|ptt)-[\w-]{20,64})" + _E, 3.0),
    _rule("slack-token", "xox", r"\b(xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+)", 2.5),
    _rule("slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9+/]{40,60})", 3.0),
    _rule(
        "stripe-key", "sk_live_ rk_live_ sk_test_ rk_test_", _B + r"([sr]k_(?:live|test)_[A-Za-z0-9]{10,99})" + _E, 3.0
    ),
    _rule("google-key", "aiza", _B + r"(AIza[\w-]{35})" + _E, 3.5),
    _rule("google-oauth", "gocspx- ya29.", _B + r"(GOCSPX-[\w-]{28}|ya29\.[\w-]{30,})" + _E, 3.0),
    _rule(
        "openai-key",
        "sk-",
        _B + r"(sk-(?:proj-|svcacct-|admin-)?[\w-]{20,74}T3BlbkFJ[\w-]{20,74}|sk-proj-[\w-]{60,})" + _E,
        3.0,
    ),
    _rule("anthropic-key", "sk-ant-", _B + r"(sk-ant-(?:api|admin)\d\d-[\w-]{80,})" + _E, 3.0),
    _rule("huggingface-token", "hf_ api_org_", _B + r"(hf_[A-Za-z]{34}|api_org_[A-Za-z]{34})" + _E, 3.0),
    _rule("npm-token", "npm_", _B + r"(npm_[A-Za-z0-9]{36})" + _E, 3.0),
    _rule("pypi-token", "pypi-", r"(pypi-AgEIcHlwaS5vcmc[\w-]{50,})", 3.0),
    _rule("sendgrid-key", "sg.", _B + r"(SG\.[\w-]{16,32}\.[\w-]{16,64})" + _E, 3.0),
    _rule("twilio-key", "sk ac", _B + r"((?:SK|AC)[0-9a-f]{32})" + _E, 3.0),
    _rule("mailgun-key", "key-", _B + r"(key-[0-9a-f]{32})" + _E, 3.0),
    _rule("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", _B + r"(do[opr]_v1_[0-9a-f]{64})" + _E, 3.0),
    _rule("azure-storage-key", "accountkey", r"AccountKey=([A-Za-z0-9+/]{86}==)", 3.0),
    _rule("vault-token", "hvs. hvb.", _B + r"(hv[sb]\.[\w-]{24,})" + _E, 3.0),
    _rule("age-key", "age-secret-key-1", r"(AGE-SECRET-KEY-1[0-9A-Z]{58})"),
    _rule("jwt", "eyj", r"(?<![\w/-])(eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,})", 3.5),
    _rule(
        "password-hash",
        "$1$ $2a$ $2b$ $2y$ $5$ $6$ $apr1$ $y$",
        r"(\$(?:1|5|6|apr1|y)\$[./A-Za-z0-9=$]{20,}|\$2[aby]\$\d\d\$[./A-Za-z0-9]{53})",
        3.0,
    ),
    _rule(
        "url-password", "://", r"[a-z][a-z0-9+.-]{1,20}://[^\s:/'\"<>{}$\[]{0,60}:([^\s/'\"<>{}$\[\]*]{3,100})@[\w.\[-]"
    ),
    _rule("pgpass", ":5432: :*:", r"(?m:^[\w.*-]{1,80}:(?:5432|\*):[\w*-]{1,60}:[\w*-]{1,60}:([^\s:]{4,80})$)"),
    _rule(
        "bearer", "bearer basic", r"(?i:authorization)[\"']?\s*[:=]\s*[\"']?(?i:bearer|basic)\s+([\w.+/=~-]{16,})", 3.2
    ),
)

# From the last word of the name on: a pattern that begins with literals is looked for at memory speed.
_ASSIGNED = re.compile(
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|auth|credentials?|salt)(?:_base)?(?P<close>[\"']?\]?)"
    r"[ \t]*(?P<sign>:=|=>|[=:]|(?<=[\"']),)[ \t]*"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{4,200})(?P=quote)|(?P<bare>[^\s\"'`,;<>(){}\[\]]{6,200}))",
)
_NAME = re.compile(
    r"(?:.*[_.-])?(?:\w*pass(?:word|wd|phrase)?|\w*pwd|\w*secret(?:[_-]?(?:access)?[_-]?key(?:[_-]?base)?)?|\w*token|_?auth|"
    r"\w*api[_-]?(?:key|token|secret)|\w*(?:auth|access|secure|logged[_-]?in|nonce|private|encryption|master|signing|"
    r"consumer|security|app)[_-]?key|\w+[_-]salt|credentials?)"
)
_NAME_BACK = re.compile(r"[\w.-]*\Z")
_NAME_CHARS = 40
_TAGGED = re.compile(r"(?i:<(?:pass(?:word|wd)?|secret|token|apikey)(?:\s[^>\n]{0,80})?>)([^<\s]{4,200})<")
_SPACED = re.compile(  # .netrc, .esmtprc
    r"(?im:^[ \t]*(?:(?:machine|login)[ \t][^\n]{1,80}[ \t]password[ \t]+([^\s\"'=:]{4,64})|"
    r"password[ \t]+[\"']([^\s\"']{4,64})[\"'])[ \t]*$)"
)
_WORDS = ("pass", "pwd", "secret", "token", "key", "auth", "credential", "salt")
_PLACEHOLDER = re.compile(
    r"(?i:x{3,}|\*{3,}|\.{3,}|<|\$\{|\{\{|%\(|%s|\$\(|your|example|change|placeholder|redacted|insert|todo|"
    r"^(?:none|null|nil|true|false|undefined|string|str|bytes|secret|token|required|optional|default|empty|"
    r"env|self|this|os|config|settings|process|vault|ref|var|file|path|https?)\b)"
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_]*(?:[.-][A-Za-z_]+)*[,;:.)]*")
_ABOUT = re.compile(
    r"(?i:field|user|name|input|text|type|label|reset|hash|login|enter|require|invalid|pass_?word|token|secret)"
)
_VARIABLE = re.compile(r"[$%@&/~]|[\w.]+[(\[]")
_STRONG_ENTROPY = 3.0
_WEAK_ENTROPY = 2.2
_PROSE_ENTROPY = 4.5  # a sentence stays below
_PASSWORD = re.compile(r"(?:pass(?:word|wd|phrase)?|pwd)\Z")

KINDS = (*(rule.name for rule in _MARKED), "secret:assigned")


def find_secrets(text: str) -> list[Finding]:
    """Return secrets in `text`: keys with an issuer's mark, and values assigned to a secret's name."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters grow: then positions would not be those of `text`
        lowered = text
    findings = [
        finding for rule in _MARKED if any(word in lowered for word in rule.words) for finding in _marked(rule, text)
    ]
    if any(word in lowered for word in _WORDS):
        findings += _assigned(text, lowered)
    return findings


def _marked(rule: _Rule, text: str) -> Iterator[Finding]:
    for found in rule.pattern.finditer(text):
        group = 1 if rule.pattern.groups else 0
        value = found[group]
        if entropy(value) >= rule.entropy and not (group and _PLACEHOLDER.search(value)):
            yield Finding(rule.name, *found.span(group))


def _assigned(text: str, lowered: str) -> Iterator[Finding]:
    for found in _ASSIGNED.finditer(lowered):
        back = _NAME_BACK.search(lowered, max(0, found.start() - _NAME_CHARS), found.start())
        start = back.start() if back else found.start()
        end = found.start("close")
        if text[start - 1 : start] in ("?", "&") or not _NAME.fullmatch(lowered, start, end):
            continue  # a parameter in a link, or another name
        span = found.span("quoted" if found["quoted"] else "bare")
        # "name": and NAME= are data; name = may be any expression
        data = found["sign"] != "," and (bool(found["close"]) or (text[start:end].isupper() and found["sign"] == "="))
        if not found["quoted"] and (found["sign"] == "," or text[span[1] : span[1] + 1] in ("(", "[")):
            continue  # the next argument, or a call
        if _plausible(lowered[start:end], text[span[0] : span[1]], data=data, quoted=bool(found["quoted"])):
            yield Finding("secret:assigned", *span)
    for pattern in (_TAGGED, _SPACED):
        for found in pattern.finditer(text):
            if not _PLACEHOLDER.search(found[found.lastindex or 0]):
                yield Finding("secret:assigned", *found.span(found.lastindex or 0))


def _plausible(name: str, value: str, *, data: bool, quoted: bool) -> bool:
    """Tell a secret from an expression, a placeholder, a path or a word."""
    if _PLACEHOLDER.search(value) or _VARIABLE.match(value):
        return False
    if " " in value.strip() and entropy(value) < _PROSE_ENTROPY:
        return False
    word = bool(_IDENTIFIER.fullmatch(value))
    if _PASSWORD.search(name):
        if data:
            return len(value) >= 5 and not (word and _ABOUT.search(value))
        if quoted:
            return len(value) >= 6 and entropy(value) >= _WEAK_ENTROPY and not word
    has_digit = any(character.isdigit() for character in value)
    return len(value) >= 8 and has_digit and entropy(value) >= _STRONG_ENTROPY and not word


def entropy(value: str) -> float:
    """Return Shannon's entropy of the characters of `value`, in bits a character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())
