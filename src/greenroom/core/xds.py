"""What travels between a control plane and an Envoy, whichever variant of xDS they speak.

``core.xds_stream`` has the order in which it travels, ``core.xds_delta`` and ``core.xds_sotw`` the two variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

_TYPE = "type.googleapis.com/envoy.config"
CLUSTER = f"{_TYPE}.cluster.v3.Cluster"
ENDPOINTS = f"{_TYPE}.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_TYPE}.listener.v3.Listener"
ROUTES = f"{_TYPE}.route.v3.RouteConfiguration"
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class XdsResource:
    """One resource, serialised. The version changes with the bytes and with nothing else."""

    name: str
    version: str
    body: bytes


Snapshot: TypeAlias = Mapping[str, Mapping[str, XdsResource]]
"""Type URL -> name -> resource: everything that one gateway is to have. It is never changed once published."""

Named: TypeAlias = tuple[str, str]
"""Type URL and name of a resource."""


@dataclass(frozen=True, slots=True)
class Request:
    """What both variants ask with. ``nonce`` is that of the response it answers; ``error`` why that was refused."""

    type_url: str
    nonce: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """Resources to take, and names to give up; the state-of-the-world variant says the latter by leaving out."""

    type_url: str
    nonce: str
    resources: tuple[XdsResource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What one Envoy has of the present snapshot: all but ``missing``, of which it said no to ``refused``, and why."""

    missing: frozenset[Named]
    refused: Mapping[Named, str]
