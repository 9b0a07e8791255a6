"""What Kubernetes' RBAC lets nobody do until a rule says so: a permission that is missing, and the rule to add.

The rule grants at once what Greenroom needs for such an object, so that nobody has to add one verb after the other;
and no more: where another account writes the objects, Greenroom's own is to look at them only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IMPERSONATE = "impersonate"

_READ = frozenset({"get", "list", "watch"})
_MANAGE = _READ | {"create", "patch", "delete"}
"""For an object of an environment: server-side apply is a patch, and a create when there is no such object yet."""

_ONLY_READ = frozenset(
    {
        ("", "pods"),
        ("apps", "controllerrevisions"),
        ("apps", "replicasets"),
        ("discovery.k8s.io", "endpointslices"),
        ("kubetempura.mercari.com", "reviewapps"),
    }
)
"""What Greenroom looks at and never writes, by API group and resource."""

_USER_LIMIT = 200
"""Characters of a user's name, so that the rule behind it is never cut off: see ``errors.MESSAGE_LIMIT``."""
_TEXT_LIMIT = 900
"""Characters that several permissions may take together."""


@dataclass(frozen=True, slots=True)
class Permission:
    """That ``user`` may do ``verb``, as Kubernetes' authorizers are asked. Of ``""`` is known only that it is Greenroom
    itself.

    ``resource`` is the plural, with a subresource as in ``prs/status``; ``group`` is its API group. ``namespace`` is
    ``""`` at cluster scope, which is also where all namespaces are listed at once. ``name`` is the object's, ``""``
    for any.
    """

    user: str
    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def explained(missing: Iterable[Permission], *, writer: str = "") -> str:
    """For a person: who may not do what, where, and the RBAC rules to add, in YAML.

    At least one permission, and all of one user in one namespace. As many are told as there is room for, and how many
    more there are. ``writer`` is the user in whose name the objects are written, ``""`` for Greenroom itself.
    """
    told, left = list({_deed(each): each for each in missing}.values()), 0
    while len(text := _sentence(told, left, writer)) > _TEXT_LIMIT and len(told) > 1:
        told.pop()
        left += 1
    return text


def _sentence(missing: Sequence[Permission], left: int, writer: str) -> str:
    user, namespace = missing[0].user, missing[0].namespace
    granted = ", ".join(rules(missing, writes=writer in ("", user)))
    place = f"in namespace {namespace}{_usual_cause(user, writer)}" if namespace else "at cluster scope"
    role = "a Role bound to it there" if namespace else "a ClusterRole bound to it"
    deeds = ", ".join(map(_deed, missing)) + (f" and {left} more" if left else "")
    user = user if len(user) <= _USER_LIMIT else f"{user[:_USER_LIMIT]}…"
    return f"{user or 'Greenroom'} may not {deeds} {place}; add to {role}: {granted}"


def _usual_cause(user: str, writer: str) -> str:
    """Of Greenroom's own account: the chart was not told of the namespace."""
    if user == writer:
        return ""
    return f" (is it in the chart's environments.{'serviceAccounts' if writer else 'namespaces'}?)"


def _deed(missing: Permission) -> str:
    resource, slash, subresource = missing.resource.partition("/")
    kind = f"{resource}.{missing.group}" if missing.group else resource
    name = f' "{missing.name}"' if missing.verb == IMPERSONATE else ""
    return f"{missing.verb} {kind}{slash}{subresource}{name}"


def rules(missing: Iterable[Permission], *, writes: bool = True) -> list[str]:
    """The rules of a Role or ClusterRole that grant it, with what goes with it, each in YAML on one line.

    ``writes`` tells whether whoever lacks it is to write the objects, or only to look at them.
    """
    verbs: dict[tuple[str, str, str], set[str]] = {}
    for each in missing:
        name = each.name if each.verb == IMPERSONATE else ""
        verbs.setdefault((each.group, name, each.resource), set()).update(_verbs(each, writes=writes))
    resources: dict[tuple[str, str, str], list[str]] = {}
    for (group, name, resource), granted in verbs.items():
        resources.setdefault((group, name, ", ".join(sorted(granted))), []).append(resource)
    return [_rule(group, sorted(alike), name, granted) for (group, name, granted), alike in resources.items()]


def _rule(group: str, resources: Sequence[str], name: str, verbs: str) -> str:
    parts = {"apiGroups": group or '""', "resources": ", ".join(resources)}
    if name:
        parts["resourceNames"] = json.dumps(name)  # 7 or on would be no text in YAML
    parts["verbs"] = verbs
    return "{" + ", ".join(f"{field}: [{value}]" for field, value in parts.items()) + "}"


def _verbs(missing: Permission, *, writes: bool) -> frozenset[str]:
    """Of an account that somebody wants to be, no more than to be it; of a subresource nothing else, either."""
    if missing.verb == IMPERSONATE or "/" in missing.resource:
        return frozenset({missing.verb})
    # Nothing is written at cluster scope.
    looks = not writes or not missing.namespace or (missing.group, missing.resource) in _ONLY_READ
    return _READ if looks and missing.verb in _READ else _MANAGE | {missing.verb}
