"""Text that others wrote (log lines, messages of the cluster) -> the same without what looks like a secret.

It goes onto a pull request, which is often public, and nobody has looked at it before. So doubt is settled for masking,
as long as what a person needs to find the fault stays: the name of a variable, the user and host of an address, the
words of an error. The shapes of tokens are those that their makers publish for secret scanning.
"""

from __future__ import annotations

import re

MASK = "***"

_WORDS = "password|passwd|passphrase|secret|token(?!s|iz)|api[_-]?key|access[_-]?key|private[_-]?key|credential"
_KEY = rf"(?<![\w.-])(?=[\w.-]*?(?:{_WORDS}|[_-](?:pwd|pass)(?![\w-])))[\w.-]++"
"""The name of a setting that holds a secret. PWD and OLDPWD are folders, ``pass: 5`` is a count."""
_SEPARATOR = r"\\{0,4}[\"']?[ \t]{0,8}(?:=>|:=|[:=](?!=))[ \t]{0,8}"
"""Between name and value in shell, YAML, JSON, Ruby and Go, also where one is quoted inside another."""
_VALUE = (
    r"(?P<quote>\\{1,4}[\"'])(?:(?!(?P=quote))[^\n])*(?:(?P=quote))?"  # quoted inside of quotes
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?"  # cut off at the end of the line at worst
    r"|(?:(?!&[\w.-]{1,64}=)[^\s\"])+"  # the next parameter of a query is another matter
)
_HARMLESS = re.compile(
    r"[\"']?(?:\*+|<\w+>|null|nil|none|true|false|undefined|\$\{\w+\}|\{\{[\w. ]+\}\})?[\"']?[,;)}\]]*", re.IGNORECASE
)
"""Values that say that there is none, or where it would come from."""

_PRIVATE = r"[A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,40}-----"
_PEM = re.compile(rf"-----BEGIN {_PRIVATE}.*?(?:-----END {_PRIVATE}|\Z)", re.DOTALL)
_PEM_TAIL = re.compile(rf"\A(?:(?!-----BEGIN ).)*-----END {_PRIVATE}", re.DOTALL)
"""The end of a key whose beginning was cut off."""
_HEADER = re.compile(
    r"(?P<key>\b(?:proxy-)?authorization|\b(?:set-)?cookie)(?P<separator>" + _SEPARATOR + r")(?P<value>"
    r"\\{1,4}\"[^\n]*?\\{1,4}\"|\"[^\"\n]*\"?|'[^'\n]*'?|[^\n\"']+)",
    re.IGNORECASE,
)
_SETTING = re.compile(rf"(?P<key>{_KEY})(?P<separator>{_SEPARATOR})(?P<value>{_VALUE})", re.IGNORECASE)
_SCHEME = re.compile(r"\b(?P<scheme>bearer|basic)(?P<space>[ \t]+)(?P<value>[\w+/.~-]{8,}=*)", re.IGNORECASE)
_RUN = re.compile(r"[^\s\"'<>]++")
"""What an address may be a part of. Each is looked at once: from every ``://`` on would take a square of the time."""
_USER = re.compile(r"://(?P<user>[^\s/:@\"'<>]{0,256}+):(?!\d{1,5}(?:[/?#])).+@\Z")
"""The user and password of an address, up to the last ``@``; a port with a path behind it is none."""
_USER_TOKEN = re.compile(r"://[^\s/:@\"'<>]{16,1024}+@")
_JWT = re.compile(
    r"(?<![\w-])(?P<before>(?:(?!(?<![A-Za-z0-9])eyJ)[\w-])*+)"
    r"eyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+){1,3}+"
)
"""JSON Web Tokens, signed or encrypted. Looked for once in each run of their letters, for the same reason."""
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"gh[pousr]_[A-Za-z0-9_.-]{16,}|github_pat_\w{16,}"  # GitHub
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|agent|soat)-[\w.-]{16,}"  # GitLab
    r"|(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|AIza[\w-]{35}|ya29\.[\w.-]{20,}"  # Google
    r"|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{10,}"  # Slack
    r"|(?:sk|rk|pk)_(?:live|test)_\w{10,}|whsec_\w{16,}"  # Stripe
    r"|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|dckr_pat_[\w-]{20,}|hv[sbr]\.[\w-]{20,}|dop_v1_[0-9a-f]{32,}"
    r"|sk-[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r")"
)


def scrub(text: str) -> str:
    """``text``, of one line or many, with each secret replaced by ``***``. Scrubbing twice changes nothing more."""
    text = _PEM_TAIL.sub(MASK, _PEM.sub(MASK, text))
    text = _JWT.sub(rf"\g<before>{MASK}", _TOKENS.sub(MASK, text))
    text = _HEADER.sub(_masked_setting, text)
    text = _SCHEME.sub(_masked_scheme, text)
    text = _USER_TOKEN.sub(f"://{MASK}@", _RUN.sub(_masked_user, text))
    return _SETTING.sub(_masked_setting, text)


def _masked_user(run: re.Match[str]) -> str:
    head, at, tail = run[0].rpartition("@")
    return _USER.sub(rf"://\g<user>:{MASK}@", head + at) + tail if at else run[0]


def _masked_setting(found: re.Match[str]) -> str:
    if _HARMLESS.fullmatch(found["value"]):
        return found[0]
    return f"{found['key']}{found['separator']}{MASK}"


def _masked_scheme(found: re.Match[str]) -> str:
    """``basic authentication`` is a word and a word; a credential has digits, or letters of both sizes in between."""
    value = found["value"]
    is_word = value.isalpha() and (value.islower() or value.isupper() or value.istitle())
    return found[0] if is_word else f"{found['scheme']}{found['space']}{MASK}"
