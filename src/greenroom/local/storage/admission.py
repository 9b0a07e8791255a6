"""What an API server does to an applied object before it is stored: check it, and bring it into one form.

The rules are those of Kubernetes' ``apimachinery`` validation. Fields of specs are not checked: what runs an object
reports those. Every message names the field and the cure.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping

from greenroom.local.storage.apply import plain
from greenroom.local.storage.schema import schema_of
from greenroom.model.errors import Invalid
from greenroom.model.manifest import NAMESPACE, SECRET, SERVICE, Json, Manifest, get, items, kind_of, table, text
from greenroom.model.watch import Resource

OBJECT_LIMIT = 1536 * 1024
"""Bytes of an object as JSON; etcd's limit for a request."""

ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all annotations of an object, keys and values."""

_SERVER_FIELDS = frozenset({
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
})  # fmt: skip

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")
_SERVICE_NAME = re.compile(rf"(?=[a-z].{{0,62}}\Z){_LABEL}")
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_PATH_SEGMENT = re.compile(r"(?!\.\.?\Z)[^/%]+")
_LABEL_VALUE = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

_NAME_RULE = 'use lower case letters, digits, "-" and ".", up to 253 characters, a letter or digit first and last'
_SHORT_NAME_RULE = 'use lower case letters, digits and "-", up to 63 characters, a letter or digit first and last'
_SERVICE_NAME_RULE = 'use lower case letters, digits and "-", up to 63 characters, a letter first, no "-" last'
_KEY_RULE = (
    'use letters, digits, "-", "_" and ".", up to 63 characters, a letter or digit first and last, '
    "and in front of it a DNS name and one slash if you like"
)
_VALUE_RULE = 'use letters, digits, "-", "_" and ".", up to 63 characters, a letter or digit first and last'


def identify(manifest: Manifest) -> None:
    """Raise Invalid unless the object says what it is."""
    for path in (("apiVersion",), ("kind",), ("metadata", "name")):
        if not text(manifest, *path):
            raise Invalid(f"{'.'.join(path)}: required, as text")


def admit(manifest: Manifest, resource: Resource) -> Manifest:
    """The fields that whoever applies ``manifest`` wants: plain JSON, without status and what the server sets itself.

    Raises Invalid.
    """
    _check_names(manifest, resource)
    wanted = table(plain(manifest, schema_of(resource.kind)))
    metadata = {key: value for key, value in table(wanted, "metadata").items() if key not in _SERVER_FIELDS}
    _check_metadata(metadata)
    body = {key: value for key, value in wanted.items() if key != "status"}
    return _with_string_data({**body, "metadata": metadata})


def check_controller(merged: Manifest) -> None:
    """Raise Invalid when an object, as it is going to be stored, has two controllers: each manager may bring one."""
    references = items(merged, "metadata", "ownerReferences")
    controllers = [reference for reference in references if get(reference, "controller") is True]
    if len(controllers) > 1:
        named = " and ".join(f"{text(each, 'kind')}/{text(each, 'name')}" for each in controllers)
        raise Invalid(f"metadata.ownerReferences: only one of them can have controller: true, not {named}")


def _check_names(manifest: Manifest, resource: Resource) -> None:
    namespace, name = get(manifest, "metadata", "namespace"), text(manifest, "metadata", "name")
    if resource.namespaced and not namespace:
        raise Invalid(f"metadata.namespace: required for a {resource.kind.name}")
    if not resource.namespaced and namespace:
        raise Invalid(f"metadata.namespace: a {resource.kind.name} belongs to no namespace: leave it out")
    if namespace:
        _check("metadata.namespace", namespace, _DNS_LABEL, _SHORT_NAME_RULE)
    if resource.kind == NAMESPACE:
        _check("metadata.name", name, _DNS_LABEL, _SHORT_NAME_RULE)
    elif resource.kind == SERVICE:
        _check("metadata.name", name, _SERVICE_NAME, _SERVICE_NAME_RULE)
    elif resource.kind.group == "rbac.authorization.k8s.io":
        _check("metadata.name", name, _PATH_SEGMENT, 'it must not be "." or ".." nor contain "/" or "%"')
    else:
        _check("metadata.name", name, _DNS_SUBDOMAIN, _NAME_RULE)


def _check_metadata(metadata: Mapping[str, Json]) -> None:
    for key, value in _texts(metadata, "labels").items():
        _check_key("metadata.labels", key)
        _check(f"metadata.labels[{key}]", value, _LABEL_VALUE, _VALUE_RULE)
    annotations = _texts(metadata, "annotations")
    for key in annotations:
        _check_key("metadata.annotations", key)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        raise Invalid(f"metadata.annotations: larger than {ANNOTATIONS_LIMIT} bytes together: keep such data elsewhere")
    for index, finalizer in enumerate(_list(metadata, "finalizers")):
        if not isinstance(finalizer, str):
            raise Invalid(f"metadata.finalizers[{index}]: must be text")
        _check_key("metadata.finalizers", finalizer)
    _check_owner_references(metadata)


def _check_owner_references(metadata: Mapping[str, Json]) -> None:
    references = _list(metadata, "ownerReferences")
    for index, reference in enumerate(references):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not text(reference, field):
                raise Invalid(f"metadata.ownerReferences[{index}].{field}: required, as text")


def _texts(metadata: Mapping[str, Json], field: str) -> dict[str, str]:
    value = metadata.get(field, {})
    if not isinstance(value, Mapping):
        raise Invalid(f"metadata.{field}: must be an object of texts")
    texts = {key: each for key, each in value.items() if isinstance(each, str)}
    for key in value.keys() - texts.keys():
        raise Invalid(f"metadata.{field}[{key}]: must be text: put it in quotes")
    return texts


def _list(metadata: Mapping[str, Json], field: str) -> list[Json]:
    value = metadata.get(field, [])
    if not isinstance(value, list):
        raise Invalid(f"metadata.{field}: must be a list")
    return value


def _check(field: str, value: Json, pattern: re.Pattern[str], rule: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Invalid(f'{field} "{str(value)[:100]}": {rule}')


def _check_key(field: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not _DNS_SUBDOMAIN.fullmatch(prefix)):
        raise Invalid(f'{field}: the key "{key[:100]}" is not valid: {_KEY_RULE}')


def _with_string_data(manifest: Manifest) -> Manifest:
    """A Secret's ``stringData`` in its ``data``, encoded as that is, where Kubernetes puts it too."""
    given = table(manifest, "stringData")
    if kind_of(manifest) != SECRET or not given:
        return manifest
    if not all(isinstance(value, str) for value in given.values()):
        raise Invalid("stringData: its values must be texts: put them in quotes")
    encoded = {key: b64encode(str(value).encode()).decode() for key, value in given.items()}
    rest = {key: value for key, value in manifest.items() if key != "stringData"}
    return {**rest, "data": {**table(manifest, "data"), **encoded}}
