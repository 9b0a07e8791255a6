"""App Mesh's six kinds, for clusters that do not have their CRDs. ``model.mesh`` and its neighbours parse them.

They take what the CRDs of aws/aws-app-mesh-controller-for-k8s take: nothing is dropped at any depth, and what is
required or limited here is so there. Whether a GatewayRoute is served, no schema can say: its condition does.
"""

from __future__ import annotations

from greenroom.model.crds.schema import (
    AGE,
    Column,
    Schema,
    array,
    conditions,
    definition,
    integer,
    observed_generation,
    open_fields,
    string,
)
from greenroom.model.manifest import Json, Kind
from greenroom.model.mesh import GATEWAY_ROUTE, GROUP, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE

VIRTUAL_ROUTER = Kind(GROUP, "v1beta2", "VirtualRouter")

_OUTBOUND = "Taken for compatibility: it is about the requests that pods make, and Greenroom puts no proxy beside them."
_SET_BY_CONTROLLER = "Was written by App Mesh's controller. Greenroom finds out anew and does not read it."


def mesh() -> Schema:
    spec = {
        "awsName": _aws_name("the name of the object"),
        "namespaceSelector": _selector("Namespaces whose objects belong to the mesh.", "No namespace"),
        "egressFilter": open_fields(
            _OUTBOUND, {"type": string("ALLOW_ALL or DROP_ALL.", enum=["ALLOW_ALL", "DROP_ALL"])}, required=["type"]
        ),
        "meshOwner": string("Taken for compatibility: an AWS account id."),
    }
    described = "A Mesh says which namespaces take part: an object in any other namespace is not routed to."
    return _definition(MESH, "meshes", described, spec, namespaced=False)


def virtual_gateway() -> Schema:
    listener = open_fields(
        "One port. TLS, health checks and connection pools stand here, too.",
        {"portMapping": _port_mapping("http", "http2", "grpc")},
        required=["portMapping"],
    )
    file = open_fields("A file.", {"path": string("Its path. Example: /dev/stdout")}, required=["path"])
    access_log = open_fields("A line for each request.", {"file": file})
    spec = {
        "awsName": _aws_name("<name>_<namespace>"),
        "namespaceSelector": _selector("Namespaces whose GatewayRoutes belong to the gateway.", "No namespace"),
        "gatewayRouteSelector": _selector("GatewayRoutes, of those namespaces, that belong to it.", "All of them"),
        "podSelector": _selector("Pods, in its own namespace, that run its Envoy.", "No pod"),
        "listeners": array("The ports that visitors connect to.", listener),
        "logging": open_fields("What its Envoy writes down.", {"accessLog": access_log}),
        "backendDefaults": open_fields("How it connects to what stands behind it."),
    }
    described = (
        "A VirtualGateway is an Envoy through which visitors come in. Exactly one has to match each GatewayRoute, by"
        " namespaceSelector and gatewayRouteSelector."
    )
    port = Column("Port", ".spec.listeners[0].portMapping.port", "The port that it listens on.", "integer")
    return _definition(VIRTUAL_GATEWAY, "virtualgateways", described, spec, port)


def gateway_route() -> Schema:
    spec = {
        "awsName": _aws_name("<name>_<namespace>"),
        "priority": integer(
            "Routes are tried from 0 to 1000, and of one priority the longest prefix first. Default: 1000, last.",
            minimum=0,
            maximum=1000,
        ),
        "httpRoute": _http_route("HTTP/1.1"),
        "http2Route": _http_route("HTTP/2"),
        "grpcRoute": _grpc_route(),
        "virtualGatewayRef": open_fields(_SET_BY_CONTROLLER),
    }
    described = (
        "A GatewayRoute leads requests from a VirtualGateway to a VirtualService: exactly one of httpRoute, http2Route"
        " and grpcRoute. Its condition GatewayRouteActive says whether every Envoy of the gateway serves it, and why it"
        " does not."
    )
    host = Column("Host", ".spec['httpRoute','http2Route','grpcRoute'].match.hostname.exact", "The host it is for.")
    return _definition(GATEWAY_ROUTE, "gatewayroutes", described, spec, host)


def virtual_service() -> Schema:
    node = _reference("virtualNodeRef", "The VirtualNode that answers.", "virtualNodeARN")
    router = _reference("virtualRouterRef", "The VirtualRouter that chooses between VirtualNodes.", "virtualRouterARN")
    spec = {
        "awsName": _aws_name("<name>.<namespace>, with a dot", "It is the Host that the application sees."),
        "provider": open_fields(
            "Who answers: one of the two. Default: nobody.", {"virtualNode": node, "virtualRouter": router}
        ),
    }
    described = "A VirtualService is what a GatewayRoute leads to: a name for a VirtualNode or a VirtualRouter."
    provider = Column("Node", ".spec.provider.virtualNode.virtualNodeRef.name", "The VirtualNode that answers.")
    return _definition(VIRTUAL_SERVICE, "virtualservices", described, spec, provider)


def virtual_node() -> Schema:
    listener = open_fields(
        "One port. Health checks, outlier detection and connection pools stand here, too.",
        {"portMapping": _port_mapping("http", "http2", "grpc", "tcp"), "timeout": _timeout()},
        required=["portMapping"],
    )
    hostname = string("Name of the Service. Example: pr7.pr-env.svc.cluster.local")
    response = string("Taken for compatibility: Greenroom knows the pods.", enum=["ENDPOINTS", "LOADBALANCER"])
    dns = open_fields(
        "By the name of a Service.", {"hostname": hostname, "responseType": response}, required=["hostname"]
    )
    spec = {
        "awsName": _aws_name("<name>_<namespace>"),
        "podSelector": _selector("Pods that got a sidecar from App Mesh. Greenroom asks the Service.", "No pod"),
        "listeners": array("The port of the Service that requests are sent to.", listener),
        "serviceDiscovery": open_fields("How its pods are found.", {"dns": dns}),
        "backends": array(_OUTBOUND, open_fields("A VirtualService.")),
        "backendGroups": array(_OUTBOUND, open_fields("A BackendGroup.")),
        "backendDefaults": open_fields(_OUTBOUND),
        "logging": open_fields(_OUTBOUND),
    }
    described = "A VirtualNode is an application: the Service behind which its pods are, and the port to talk to."
    column = Column("Service", ".spec.serviceDiscovery.dns.hostname", "Name of the Service.")
    return _definition(VIRTUAL_NODE, "virtualnodes", described, spec, column)


def virtual_router() -> Schema:
    listener = open_fields(
        "One port.", {"portMapping": _port_mapping("http", "http2", "grpc", "tcp")}, required=["portMapping"]
    )
    of_protocols = {
        f"{protocol}Route": open_fields(f"What {name} requests it is for, and which VirtualNodes share them by weight.")
        for protocol, name in (("http", "HTTP/1.1"), ("http2", "HTTP/2"), ("grpc", "gRPC"), ("tcp", "TCP"))
    }
    route = open_fields(
        "One route, of one protocol.",
        {
            "name": string("Name of the route, which no other route of the router has."),
            "priority": integer("From 0, tried first, to 1000. Default: 1000.", minimum=0, maximum=1000),
            **of_protocols,
        },
        required=["name"],
    )
    spec = {
        "awsName": _aws_name("<name>_<namespace>"),
        "listeners": array("The ports that routes are for.", listener, minItems=1),
        "routes": array("Routes match the path as the gateway has rewritten it.", route),
    }
    described = "A VirtualRouter stands behind a VirtualService and divides its requests among VirtualNodes."
    return _definition(VIRTUAL_ROUTER, "virtualrouters", described, spec)


def _definition(
    kind: Kind, plural: str, description: str, spec: dict[str, Schema], *columns: Column, namespaced: bool = True
) -> Schema:
    active = f".status.conditions[?(@.type=='{kind.name}Active')]"
    said = (
        Column("Active", f"{active}.status", "Whether it is in use."),
        Column("Reason", f"{active}.reason", "Why it is, or is not."),
        Column("Message", f"{active}.message", "The same for people.", wide=True),
    )
    described = open_fields(
        "What it is to be.", spec if kind == MESH else {**spec, "meshRef": open_fields(_SET_BY_CONTROLLER)}
    )
    schema = open_fields(description, {"spec": described, "status": _status(kind)})
    return definition(kind, plural, schema, (*columns, *said, AGE), categories=["all"], namespaced=namespaced)


def _status(kind: Kind) -> Schema:
    said = f"{kind.name}Active: whether it is in use, and if not, why. Written by Greenroom."
    properties = {"observedGeneration": observed_generation(), "conditions": conditions(said)}
    return open_fields("What became of it. Fields that App Mesh's controller wrote stay as they are.", properties)


def _aws_name(default: str, meaning: str = "It is the name within App Mesh.") -> Schema:
    return string(f"{meaning} Default: {default}.")


def _selector(description: str, missing: str) -> Schema:
    expression = open_fields(
        "One requirement.",
        {
            "key": string("The label."),
            "operator": string("In, NotIn, Exists or DoesNotExist."),
            "values": array("The values, for In and NotIn.", string("A value.")),
        },
        required=["key", "operator"],
    )
    labels: Schema = {
        "description": "Labels with the values that they must have.",
        "type": "object",
        "additionalProperties": string("The value."),
    }
    return open_fields(
        f"{description} Default: {missing[0].lower()}{missing[1:]}; {{}} selects everything.",
        {"matchLabels": labels, "matchExpressions": array("What else must hold of the labels.", expression)},
    )


def _port_mapping(*protocols: str) -> Schema:
    return open_fields(
        "The port, and what is spoken there.",
        {
            "port": integer("From 1 to 65535.", minimum=1, maximum=65535),
            "protocol": string(f"One of {', '.join(protocols)}.", enum=[*protocols]),
        },
        required=["port", "protocol"],
    )


def _timeout() -> Schema:
    duration = {"value": integer("How many."), "unit": string("s, or ms for milliseconds.", enum=["s", "ms"])}
    properties = {
        "perRequest": open_fields(
            "For a whole request. Default: 15 s; 0: no limit.", duration, required=["value", "unit"]
        ),
        "idle": open_fields("Without a byte. Default: no limit.", duration, required=["value", "unit"]),
    }
    of_protocols = {protocol: open_fields("For this protocol.", properties) for protocol in ("http", "http2", "grpc")}
    return open_fields("How long requests may take, for the protocol of the port.", of_protocols)


def _http_route(protocol: str) -> Schema:
    path = open_fields("A path: one of the two.", {"exact": string("All of it."), "regex": string("A pattern (RE2).")})
    match = {
        "prefix": string('How the path begins. Default, without path: "/", any path.'),
        "path": path,
        "hostname": _hostname(),
        "method": string("The method. Default: any. Example: GET"),
        "headers": array("Headers that it must have.", open_fields("One header.")),
        "queryParameters": array("Query parameters that it must have.", open_fields("One parameter.")),
        "port": integer("The listener's port, if the gateway has several."),
    }
    prefix = open_fields(
        "What a matched prefix becomes.",
        {
            "defaultPrefix": _switch("ENABLED, the default: it becomes /. DISABLED: it stays."),
            "value": string("Another prefix."),
        },
    )
    rewrite = {
        "hostname": _rewritten_host(),
        "prefix": prefix,
        "path": open_fields("What the path becomes.", {"exact": string("The whole path.")}),
    }
    return _route(f"For {protocol}.", match, rewrite)


def _grpc_route() -> Schema:
    match = {
        "serviceName": string("The service. Default: any. Example: shop.v1.Cart"),
        "hostname": _hostname(),
        "metadata": array("Metadata that it must have.", open_fields("One entry.")),
        "port": integer("The listener's port, if the gateway has several."),
    }
    return _route("For gRPC.", match, {"hostname": _rewritten_host()})


def _route(description: str, match: dict[str, Schema], rewrite: dict[str, Schema]) -> Schema:
    service = _reference("virtualServiceRef", "The VirtualService that answers.", "virtualServiceARN")
    target = open_fields(
        "Where they go.",
        {"virtualService": service, "port": integer("The VirtualNode's port, if it has several.")},
        required=["virtualService"],
    )
    action = open_fields(
        "What is done with them.",
        {"target": target, "rewrite": open_fields("What the application sees in place of it.", rewrite)},
        required=["target"],
    )
    requests = open_fields("Which requests: all that is given must hold.", match)
    return open_fields(description, {"match": requests, "action": action}, required=["match", "action"])


def _hostname() -> Schema:
    return open_fields(
        "The host that is asked for, in exactly one way. Default: any host.",
        {
            "exact": string("The whole name. Example: pr7.pr-env.example.com"),
            "suffix": string("How the name ends. Example: .pr-env.example.com"),
        },
    )


def _rewritten_host() -> Schema:
    switch = _switch(
        "ENABLED, the default: the VirtualService's awsName. DISABLED: the host that the visitor asked for."
    )
    return open_fields("The Host that the application sees.", {"defaultTargetHostname": switch})


def _switch(description: str) -> Schema:
    return string(description, enum=["ENABLED", "DISABLED"])


def _reference(field: str, description: str, arn: str) -> Schema:
    referred = open_fields(
        description,
        {
            "name": string("Its name."),
            "namespace": string("Its namespace. Default: that of the object which refers to it."),
        },
        required=["name"],
    )
    compatible: dict[str, Json] = string("Taken for compatibility: Greenroom knows only objects of the cluster.")
    return open_fields("By reference.", {field: referred, arn: compatible})
