"""Variables of a template that somebody else writes: the title of a pull request, its branch, its labels, its author.

Whoever can open a pull request chooses them. So they are put in as they are only where text is text and nothing else:
in annotations, in the data of ConfigMaps and Secrets, and in the values of environment variables, where Kubernetes'
``$(…)`` is made harmless. Everywhere else (names, hosts, images, commands) they take the filter ``slug``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping

from greenroom.model.environment import LABEL_LIMIT
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, items, text

NAMES = ("PR_TITLE", "PR_BRANCH", "PR_BASE", "PR_AUTHOR", "PR_LABELS")
SLUG = "slug"

_FILTER = re.compile(r"slug(?:\s+([1-9][0-9]?))?")
_ENV_VALUE = re.compile(r"\.(?:containers|initContainers|ephemeralContainers)\[\d+\]\.env\[\d+\]\.value\Z|\AenvVars\[")
_TEXT = re.compile(
    r"\.annotations\.[^\[\]]+\Z|\Aspec\.resources\[\d+\]\.(?:data|stringData)\.[^\[\]]+\Z|" + _ENV_VALUE.pattern
)
_OPEN = re.compile(r"\$(?:\([^)]*)?\Z")
"""A reference that is not complete: what follows would choose the variable. That ``$$(`` is none makes no difference
here: it is rare, and refusing it does no harm."""
_HASH = 8


def pull_variables(pull: Mapping[str, Json]) -> dict[str, str]:
    """From ``spec.pullRequest`` of a PR object; none where that is missing."""
    if not pull:
        return {}
    labels = ",".join(label for label in items(pull, "labels") if isinstance(label, str))
    values = (text(pull, "title"), text(pull, "branch"), text(pull, "base"), text(pull, "author"), labels)
    return dict(zip(NAMES, values, strict=True))


def filled_in(name: str, value: str, filtered: str, path: str, *, before: str) -> str:
    """What stands for ``{{name | filtered}}`` at ``path``, after the text ``before``. Raises InvalidInput."""
    if filtered:
        found = _FILTER.fullmatch(filtered)
        if found is None:
            cure = f"the filters are {SLUG}, and {SLUG} with the most characters: {{{{{name} | {SLUG} 30}}}}"
            raise InvalidInput(f"the filter {filtered[:40]!r} is not known", path=path, cure=cure)
        limit = int(found[1] or LABEL_LIMIT)
        if limit > LABEL_LIMIT:
            cure = f"write {LABEL_LIMIT} or less, or leave the number out"
            raise InvalidInput(f"no name may have {limit} characters between two dots", path=path, cure=cure)
        return slug(value, limit)
    if not _TEXT.search(path):
        raise InvalidInput(
            f"{{{{{name}}}}} is written by whoever opens a pull request, and could mean something here",
            path=path,
            cure=f"write {{{{{name} | {SLUG}}}}}, or put it into a variable of the environment and use that",
        )
    if not _ENV_VALUE.search(path):
        return value
    if _OPEN.search(before):
        cure = "put something between them, or close it with )"
        raise InvalidInput(f"the $ before {{{{{name}}}}} could make a reference of it", path=path, cure=cure)
    return value.replace("$", "$$")  # Kubernetes makes one of two, and $(…) a reference


def slug(value: str, limit: int = LABEL_LIMIT) -> str:
    """``value`` as a part of a name, a host or a label: letters of a to z, digits and hyphens within.

    A Kubernetes label ("DNS label names", RFC 1123) of ``limit`` characters at most, 63 by default. What is cut, or has
    no letter that is left, gets a hash, so that two long branches are still two.
    """
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if words and len(words) <= limit:
        return words
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[: min(_HASH, limit)]
    kept = words[: max(0, limit - len(digest) - 1)].strip("-")
    return f"{kept}-{digest}" if kept else digest
