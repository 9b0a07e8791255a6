"""Envoy resources as people read them, and as a configuration that Envoy can check without a control plane."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import MessageToJson

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Snapshot
from greenroom.local.envoy_process import bootstrap, envoy_binary

MESSAGES = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}


def readable(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """Every resource, decoded from its bytes, under the short name of its type."""
    return {
        type_url.rpartition(".")[2]: [
            json.loads(MessageToJson(message.FromString(resource.body), preserving_proto_field_name=True))
            for resource in snapshot[type_url].values()
        ]
        for type_url, message in MESSAGES.items()
    }


def complaint(snapshot: Snapshot, folder: Path) -> str:
    """What Envoy says against the same resources in a file; ``""`` when it takes them."""
    file = folder / "static.json"  # not YAML, of which Envoy's reader takes a header of the name n for a no
    runtime = bootstrap("test", "127.0.0.1:1")["layered_runtime"]
    file.write_text(json.dumps({"static_resources": _static(readable(snapshot)), "layered_runtime": runtime}))
    argv = [str(envoy_binary()), "--mode", "validate", "--log-level", "error", "--config-path", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return "" if done.returncode == 0 else done.stderr + done.stdout


def _static(resources: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    routes = {each["name"]: each for each in resources["RouteConfiguration"]}
    assignments = {each["cluster_name"]: each for each in resources["ClusterLoadAssignment"]}
    for listener in resources["Listener"]:
        for chain in listener["filter_chains"]:
            connections = chain["filters"][0]["typed_config"]
            connections["route_config"] = routes[connections.pop("rds")["route_config_name"]]
    for cluster in resources["Cluster"]:
        if cluster.pop("eds_cluster_config", None) is not None:
            cluster |= {"type": "STATIC", "load_assignment": assignments[cluster["name"]]}
    return {"listeners": resources["Listener"], "clusters": resources["Cluster"]}
