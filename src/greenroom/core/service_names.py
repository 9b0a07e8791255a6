"""Which Service a host name means: of the names that pods can look up, those that lead to Services of this cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from greenroom.model.manifest import SERVICE, Ref

_FULL = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.cluster\.local)?\.?")
_SHORT = re.compile(r"([a-z0-9-]+)(?:\.([a-z0-9-]+))?")


@dataclass(frozen=True, slots=True)
class ServiceName:
    """``is_certain`` is False for a name that may also be that of a host elsewhere: ``example.com``."""

    ref: Ref
    is_certain: bool


def service_name(host: str, namespace: str) -> ServiceName | None:
    """What ``host``, in lower case, means to a pod in ``namespace``. None when it can be no Service's name."""
    if full := _FULL.fullmatch(host):
        return ServiceName(Ref(SERVICE, full[2], full[1]), is_certain=True)
    if short := _SHORT.fullmatch(host):  # Kubernetes completes it
        return ServiceName(Ref(SERVICE, short[2] or namespace, short[1]), is_certain="." not in host)
    return None
