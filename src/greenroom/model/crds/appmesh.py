"""App Mesh's six kinds, for clusters that do not have their CRDs. ``model.mesh`` and its neighbours parse them.

They take what the CRDs of aws/aws-app-mesh-controller-for-k8s take: nothing is dropped at any depth, and what is
required or limited here is so there. Whether a GatewayRoute is served, no schema can say: its condition does.
``appmesh_fields`` has the parts that several kinds share.
"""

from __future__ import annotations

from greenroom.model.crds.appmesh_fields import (
    access_log,
    aws_name,
    certificate,
    connection_pool,
    duration,
    health_check,
    http_match,
    listener_tls,
    matched_port,
    port,
    port_mapping,
    priority,
    reference,
    referred,
    selector,
    timeout,
    validation,
    value_matches,
)
from greenroom.model.crds.schema import (
    AGE,
    Column,
    Schema,
    array,
    boolean,
    conditions,
    definition,
    integer,
    observed_generation,
    open_fields,
    string,
)
from greenroom.model.manifest import Kind
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_ROUTER, VIRTUAL_SERVICE

_OUTBOUND = "Taken for compatibility: it is about the requests that pods make, and Greenroom puts no proxy beside them."
_SET_BY_CONTROLLER = "Was written by App Mesh's controller. Greenroom finds out anew and does not read it."
_HTTP = ("http", "http2", "grpc")
_EVERY = (*_HTTP, "tcp")


def mesh() -> Schema:
    spec = {
        "awsName": aws_name("the name of the object"),
        "namespaceSelector": selector("Namespaces whose objects belong to the mesh.", "No namespace"),
        "egressFilter": open_fields(
            _OUTBOUND, {"type": string("ALLOW_ALL or DROP_ALL.", enum=["ALLOW_ALL", "DROP_ALL"])}, required=["type"]
        ),
        "meshOwner": string("Taken for compatibility: an AWS account id."),
        "meshServiceDiscovery": open_fields(
            "Taken for compatibility: pods have the addresses that Kubernetes gives them.",
            {"ipPreference": string("IPv4_ONLY or IPv6_ONLY.", enum=["IPv6_ONLY", "IPv4_ONLY"])},
        ),
    }
    described = "A Mesh says which namespaces take part: an object in any other namespace is not routed to."
    return _definition(MESH, "meshes", described, spec, namespaced=False)


def virtual_gateway() -> Schema:
    listener = open_fields(
        "One port.",
        {
            "portMapping": port_mapping(*_HTTP),
            "tls": listener_tls("TLS with visitors. Default: none; a load balancer often ends it."),
            "connectionPool": connection_pool("How much goes to one VirtualNode at once."),
            "healthCheck": health_check(
                "Taken for compatibility: a load balancer asks the gateway at port 9902, /ready.", *_HTTP
            ),
        },
        required=["portMapping"],
    )
    spec = {
        "awsName": aws_name("<name>_<namespace>"),
        "namespaceSelector": selector("Namespaces whose GatewayRoutes belong to the gateway.", "No namespace"),
        "gatewayRouteSelector": selector("GatewayRoutes, of those namespaces, that belong to it.", "All of them"),
        "podSelector": selector("Pods, in its own namespace, that run its Envoy.", "No pod"),
        "listeners": array("The ports that visitors connect to.", listener),
        "logging": open_fields("What its Envoy writes down.", {"accessLog": access_log()}),
        "backendDefaults": open_fields("How it connects to what stands behind it.", {"clientPolicy": _client_policy()}),
    }
    described = (
        "A VirtualGateway is an Envoy through which visitors come in. Exactly one has to match each GatewayRoute, by"
        " namespaceSelector and gatewayRouteSelector."
    )
    first = Column("Port", ".spec.listeners[0].portMapping.port", "The first port that it listens on.", "integer")
    return _definition(VIRTUAL_GATEWAY, "virtualgateways", described, spec, first)


def gateway_route() -> Schema:
    spec = {
        "awsName": aws_name("<name>_<namespace>"),
        "priority": priority("Which routes of the gateway are tried first; of one priority, the longest prefix."),
        "httpRoute": _gateway_http("HTTP/1.1"),
        "http2Route": _gateway_http("HTTP/2"),
        "grpcRoute": _gateway_grpc(),
        "virtualGatewayRef": open_fields(_SET_BY_CONTROLLER),
    }
    described = (
        "A GatewayRoute leads requests from a VirtualGateway to a VirtualService: exactly one of httpRoute, http2Route"
        " and grpcRoute. Its condition GatewayRouteActive says whether every Envoy of the gateway serves it, and why it"
        " does not."
    )
    asked = ".spec['httpRoute','http2Route','grpcRoute'].match.hostname['exact','suffix']"
    host = Column("Host", asked, "The host that it is for, or how that ends. None: any host.")
    return _definition(GATEWAY_ROUTE, "gatewayroutes", described, spec, host)


def virtual_service() -> Schema:
    node = reference("virtualNodeRef", "The VirtualNode that answers.", "virtualNodeARN")
    router = reference("virtualRouterRef", "The VirtualRouter that chooses between VirtualNodes.", "virtualRouterARN")
    spec = {
        "awsName": aws_name("<name>.<namespace>, with a dot", "It is the Host that the application sees."),
        "provider": open_fields(
            "Who answers: one of the two. Default: nobody.", {"virtualNode": node, "virtualRouter": router}
        ),
    }
    described = "A VirtualService is what a GatewayRoute leads to: a name for a VirtualNode or a VirtualRouter."
    named = ".spec.provider['virtualNode','virtualRouter']['virtualNodeRef','virtualRouterRef'].name"
    provider = Column("Provider", named, "The VirtualNode or VirtualRouter that answers.")
    return _definition(VIRTUAL_SERVICE, "virtualservices", described, spec, provider)


def virtual_node() -> Schema:
    timeouts = {protocol: timeout("15 s") for protocol in _HTTP}
    outliers = {
        "maxServerErrors": integer("After how many answers of 5xx in a row.", minimum=1),
        "interval": duration("How often that is looked at."),
        "baseEjectionDuration": duration("How long for the first time; for the n-th time n times as long."),
        "maxEjectionPercent": integer("How many of the endpoints, in per cent; always one.", minimum=0, maximum=100),
    }
    listener = open_fields(
        "One port.",
        {
            "portMapping": port_mapping(*_EVERY),
            "timeout": open_fields(
                "For the protocol of the port. A VirtualRouter's comes before it.",
                {**timeouts, "tcp": open_fields("For tcp.", {"idle": duration("Without a byte.")})},
            ),
            "healthCheck": health_check("How Envoy finds out who is well.", *_EVERY, required=("healthyThreshold",)),
            "outlierDetection": open_fields(
                "An endpoint that fails gets no requests for a while.", outliers, required=[*outliers]
            ),
            "connectionPool": connection_pool("How much goes to it at once.", tcp=True),
            "tls": listener_tls("TLS with the gateway: unless DISABLED, Envoy connects by TLS."),
        },
        required=["portMapping"],
    )
    cloud_map = {
        "namespaceName": string("The namespace there."),
        "serviceName": string("The service there."),
        "attributes": array(
            "Attributes of instances.",
            open_fields("One.", {"key": string("Its name."), "value": string("Its value.")}, required=["key", "value"]),
        ),
    }
    spec = {
        "awsName": aws_name("<name>_<namespace>"),
        "podSelector": selector("Pods that got a sidecar from App Mesh. Greenroom asks the Service.", "No pod"),
        "listeners": array("The ports that requests are sent to. Default: the first one gets them.", listener),
        "serviceDiscovery": open_fields(
            "How its endpoints are found.",
            {
                "dns": _dns(),
                "awsCloudMap": open_fields(
                    "Taken for compatibility, and refused by the gateway: it is a service of AWS. Use dns.",
                    cloud_map,
                    required=["namespaceName", "serviceName"],
                ),
            },
        ),
        "backends": array(_OUTBOUND, open_fields("A VirtualService.")),
        "backendGroups": array(_OUTBOUND, open_fields("A BackendGroup.")),
        "backendDefaults": open_fields(_OUTBOUND),
        "logging": open_fields(_OUTBOUND),
    }
    described = "A VirtualNode is an application: the Service behind which its pods are, and the port to talk to."
    column = Column("Hostname", ".spec.serviceDiscovery.dns.hostname", "By which name its endpoints are found.")
    return _definition(VIRTUAL_NODE, "virtualnodes", described, spec, column)


def virtual_router() -> Schema:
    listener = open_fields("One port.", {"portMapping": port_mapping(*_EVERY)}, required=["portMapping"])
    route = open_fields(
        "One route: exactly one of httpRoute, http2Route and grpcRoute.",
        {
            "name": string("Name of the route, which no other route of the router has."),
            "priority": priority("Which routes of the router are tried first; of one priority, the longest prefix."),
            "httpRoute": _router_http("HTTP/1.1"),
            "http2Route": _router_http("HTTP/2"),
            "grpcRoute": _router_grpc(),
            "tcpRoute": open_fields("Taken for compatibility, and refused by the gateway, which forwards HTTP only."),
        },
        required=["name"],
    )
    spec = {
        "awsName": aws_name("<name>_<namespace>"),
        "listeners": array("The ports that routes are for.", listener, minItems=1),
        "routes": array("They match the path as the gateway has rewritten it. What none matches is a 404.", route),
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


def _client_policy() -> Schema:
    settings = {
        "enforce": boolean("false leaves it to the VirtualNodes. Default: true."),
        "ports": array("For these ports only. Default: all.", port("A port.")),
        "certificate": certificate("What the gateway shows to applications. Default: nothing."),
        "validation": validation("Which certificates of applications are taken."),
    }
    tls = open_fields("TLS to every application, whatever its VirtualNode says.", settings, required=["validation"])
    return open_fields("For all of them.", {"tls": tls})


def _dns() -> Schema:
    hostname = string(
        "A Service of the cluster, whose pods are then known at once, or any other name or address, which Envoy"
        " resolves. Example: pr7.pr-env.svc.cluster.local"
    )
    response = string(
        "Of other names: ENDPOINTS, every address gets requests; LOADBALANCER, the default, one at a time.",
        enum=["LOADBALANCER", "ENDPOINTS"],
    )
    return open_fields("By a name.", {"hostname": hostname, "responseType": response}, required=["hostname"])


def _gateway_http(protocol: str) -> Schema:
    prefix = open_fields(
        "What a matched prefix becomes.",
        {
            "defaultPrefix": _switch("ENABLED, the default: it becomes /. DISABLED: it stays."),
            "value": string(
                "Another prefix. It ends with a slash, and so does match.prefix.", minLength=1, maxLength=255
            ),
        },
    )
    rewrite = {
        "hostname": _rewritten_host(),
        "prefix": prefix,
        "path": open_fields("What the path becomes.", {"exact": string("All of it.", minLength=1, maxLength=255)}),
    }
    return _gateway_route(f"For {protocol}.", http_match(hostname=_hostname()), rewrite)


def _gateway_grpc() -> Schema:
    match = {
        "serviceName": string("The service. Default: any. Example: shop.v1.Cart"),
        "hostname": _hostname(),
        "metadata": value_matches("Metadata that it must have.", "entry"),
        "port": matched_port("The listener's port. Default: every listener."),
    }
    return _gateway_route("For gRPC.", match, {"hostname": _rewritten_host()})


def _gateway_route(description: str, match: dict[str, Schema], rewrite: dict[str, Schema]) -> Schema:
    service = reference("virtualServiceRef", "The VirtualService that answers.", "virtualServiceARN")
    target = open_fields(
        "Where they go.",
        {"virtualService": service, "port": matched_port("The provider's port, if it has several.")},
        required=["virtualService"],
    )
    action = open_fields(
        "What is done with them.",
        {"target": target, "rewrite": open_fields("What the application sees in place of it.", rewrite)},
        required=["target"],
    )
    requests = open_fields("Which requests: all that is given must hold.", match)
    return open_fields(description, {"match": requests, "action": action}, required=["match", "action"])


def _router_http(protocol: str) -> Schema:
    scheme = string("The scheme. Default: any.", enum=["http", "https"])
    return _router_route(f"For {protocol}.", http_match(scheme=scheme), {})


def _router_grpc() -> Schema:
    match = {
        "serviceName": string("The service. Default: any. Example: shop.v1.Cart"),
        "methodName": string("A method of that service.", minLength=1, maxLength=50),
        "metadata": value_matches("Metadata that it must have.", "entry"),
        "port": matched_port("The router's port. Default: every listener."),
    }
    words = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]
    return _router_route("For gRPC.", match, {"grpcRetryEvents": _events("After these codes of gRPC.", 5, *words)})


def _router_route(description: str, match: dict[str, Schema], events: dict[str, Schema]) -> Schema:
    target = open_fields(
        "One of them.",
        {
            "virtualNodeRef": referred("The VirtualNode that answers."),
            "virtualNodeARN": string("Taken for compatibility, and refused by the gateway."),
            "weight": integer("How much it gets, relative to the others. All 0: 503.", minimum=0, maximum=100),
            "port": matched_port("The VirtualNode's port. Default: its first."),
        },
        required=["weight"],
    )
    targets = array("Who shares the requests.", target, minItems=1, maxItems=10)
    http_words = ["server-error", "gateway-error", "client-error", "stream-error"]
    retry = {
        "maxRetries": integer("How often.", minimum=0),
        "perRetryTimeout": duration("For each try."),
        "httpRetryEvents": _events("After these answers: any 5xx, 502 to 504, 409, a refused stream.", 25, *http_words),
        "tcpRetryEvents": _events("After these.", 1, "connection-error"),
        **events,
    }
    parts = {
        "match": open_fields("Which requests: all that is given must hold.", match),
        "action": open_fields("Where they go.", {"weightedTargets": targets}, required=["weightedTargets"]),
        "retryPolicy": open_fields(
            "When a request is tried again. Default: twice, after 503, and when a connection fails.",
            retry,
            required=["maxRetries", "perRetryTimeout"],
        ),
        "timeout": timeout("the VirtualNodes'"),
    }
    return open_fields(description, parts, required=["match", "action"])


def _events(description: str, most: int, *words: str) -> Schema:
    return array(description, string("One of them.", enum=[*words]), minItems=1, maxItems=most)


def _hostname() -> Schema:
    return open_fields(
        "The host that is asked for, in exactly one way. Default: any host.",
        {
            "exact": string("The whole name. Example: pr7.pr-env.example.com", minLength=1, maxLength=253),
            "suffix": string("How the name ends. Example: .pr-env.example.com", minLength=1, maxLength=253),
        },
    )


def _rewritten_host() -> Schema:
    switch = _switch(
        "ENABLED, the default: the VirtualService's awsName. DISABLED: the host that the visitor asked for."
    )
    return open_fields("The Host that the application sees.", {"defaultTargetHostname": switch})


def _switch(description: str) -> Schema:
    return string(description, enum=["ENABLED", "DISABLED"])
