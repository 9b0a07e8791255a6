"""Parts of App Mesh's schemas that several of its kinds have. What is required or limited is so in AWS's CRDs."""

from __future__ import annotations

from collections.abc import Mapping

from greenroom.model.crds.schema import Schema, array, boolean, integer, open_fields, string

_AWS_ONLY = "Taken for compatibility, and refused by the gateway: it is a service of AWS. Use file."


def aws_name(default: str, meaning: str = "It is the name within App Mesh.") -> Schema:
    return string(f"{meaning} Default: {default}.")


def selector(description: str, missing: str) -> Schema:
    """``missing`` is what it means when there is none, as a sentence begins."""
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


def reference(field: str, description: str, arn: str) -> Schema:
    """By reference or by ARN."""
    compatible = string("Taken for compatibility, and refused by the gateway, which knows objects of the cluster only.")
    return open_fields("By reference.", {field: referred(description), arn: compatible})


def referred(description: str) -> Schema:
    names = {
        "name": string("Its name."),
        "namespace": string("Its namespace. Default: that of the object which refers to it."),
    }
    return open_fields(description, names, required=["name"])


def port(description: str) -> Schema:
    return integer(description, minimum=1, maximum=65535)


def matched_port(description: str) -> Schema:
    return integer(description, minimum=0)


def port_mapping(*protocols: str) -> Schema:
    mapping = {
        "port": port("From 1 to 65535."),
        "protocol": string(f"One of {', '.join(protocols)}.", enum=[*protocols]),
    }
    return open_fields("The port, and what is spoken there.", mapping, required=["port", "protocol"])


def priority(description: str) -> Schema:
    return integer(f"{description} From 0, tried first, to 1000, the default.", minimum=0, maximum=1000)


def duration(description: str) -> Schema:
    parts = {
        "value": integer("How many."),
        "unit": string("s, or ms for milliseconds.", enum=["s", "ms"]),
    }
    return open_fields(description, parts, required=["value", "unit"])


def timeout(per_request: str) -> Schema:
    """For one protocol; ``per_request`` tells the default."""
    limits = {
        "perRequest": duration(f"For a whole request. Default: {per_request}; 0: no limit."),
        "idle": duration("Without a byte. Default: no limit."),
    }
    return open_fields("How long requests may take.", limits)


def health_check(described: str, *protocols: str, required: tuple[str, ...] = ()) -> Schema:
    def threshold(after: str) -> Schema:
        return integer(f"After how many checks in a row an endpoint {after}.", minimum=2, maximum=10)

    check = {
        "protocol": string(f"One of {', '.join(protocols)}.", enum=[*protocols]),
        "path": string('The path to ask for, over http and http2. Default: "/".'),
        "port": port("The listener's, which is the default: no other is taken."),
        "intervalMillis": integer("Milliseconds from check to check.", minimum=5000, maximum=300000),
        "timeoutMillis": integer("Milliseconds to wait for an answer.", minimum=2000, maximum=60000),
        "healthyThreshold": threshold("gets requests again"),
        "unhealthyThreshold": threshold("gets no more"),
    }
    needed = ["intervalMillis", "protocol", "timeoutMillis", "unhealthyThreshold", *required]
    return open_fields(described, check, required=needed)


def connection_pool(described: str, *, tcp: bool = False) -> Schema:
    connections = integer("Connections at once, for each endpoint's worker of Envoy.", minimum=1)
    pending = integer("Requests that wait for a connection. Default: no limit.", minimum=1)
    requests = open_fields("", {"maxRequests": integer("Requests at once.", minimum=1)}, required=["maxRequests"])
    pools: dict[str, Schema] = {
        "http": open_fields(
            "For http.",
            {"maxConnections": connections, "maxPendingRequests": pending},
            required=["maxConnections"],
        ),
        "http2": {**requests, "description": "For http2."},
        "grpc": {**requests, "description": "For grpc."},
    }
    if tcp:
        pools["tcp"] = open_fields("For tcp.", {"maxConnections": connections}, required=["maxConnections"])
    return open_fields(f"{described} One of these, for the protocol of the port. Default: no limit.", pools)


def listener_tls(described: str) -> Schema:
    settings = {
        "mode": string(
            "STRICT: TLS only. PERMISSIVE: TLS or none. DISABLED: none.", enum=["DISABLED", "PERMISSIVE", "STRICT"]
        ),
        "certificate": certificate("What the port shows."),
        "validation": validation("Whose client certificates are taken. Default: none is asked for."),
    }
    return open_fields(described, settings, required=["mode", "certificate"])


def certificate(described: str) -> Schema:
    acm = open_fields(_AWS_ONLY, {"certificateARN": string("Its ARN.")}, required=["certificateARN"])
    file = open_fields(
        "PEM files where Envoy runs.",
        {"certificateChain": _path("The certificate."), "privateKey": _path("Its key.")},
        required=["certificateChain", "privateKey"],
    )
    return open_fields(described, {"file": file, "acm": acm, "sds": _sds()})


def validation(described: str) -> Schema:
    authorities = array("ARNs of authorities.", string("An ARN."))
    acm = open_fields(_AWS_ONLY, {"certificateAuthorityARNs": authorities}, required=["certificateAuthorityARNs"])
    chain = {"certificateChain": _path("The authorities.")}
    file = open_fields("A PEM file where Envoy runs.", chain, required=["certificateChain"])
    names = open_fields("The names.", {"exact": array("One of these.", string("A host or a URI."))}, required=["exact"])
    alternatives = open_fields(
        "Names of which the certificate must have one. Default: any.", {"match": names}, required=["match"]
    )
    trust = open_fields("Who must have signed.", {"file": file, "acm": acm, "sds": _sds()})
    return open_fields(described, {"trust": trust, "subjectAlternativeNames": alternatives}, required=["trust"])


def access_log() -> Schema:
    pair = open_fields(
        "A field of the line.",
        {"key": string("Its name."), "value": string("Its value, with commands as in text.")},
        required=["key", "value"],
    )
    format_ = open_fields(
        "How a line looks: one of the two. Default: Envoy's own format.",
        {
            "text": string("The line, with Envoy's commands. Example: %START_TIME% %REQ(:METHOD)% %RESPONSE_CODE%"),
            "json": array("A JSON object of these fields.", pair),
        },
    )
    file = open_fields(
        "A file.", {"path": _path("Its path. Example: /dev/stdout"), "format": format_}, required=["path"]
    )
    return open_fields("A line for each request.", {"file": file})


def http_match(**more: Schema) -> dict[str, Schema]:
    """What GatewayRoutes and VirtualRouters ask of an HTTP request, and what one of them asks in addition."""
    path = open_fields(
        "A path: one of the two.",
        {"exact": _value("All of it."), "regex": _value("A pattern that fits all of it (RE2).")},
    )
    parameter = open_fields(
        "One parameter.",
        {
            "name": string("Its name."),
            "match": open_fields("Its value. Default: any.", {"exact": string("All of it.")}),
        },
        required=["name"],
    )
    methods = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]
    return {
        "prefix": string('How the path begins; "/" fits any.'),
        "path": path,
        "method": string("The method. Default: any.", enum=[*methods]),
        "headers": value_matches("Headers that it must have.", "header"),
        "queryParameters": array("Query parameters that it must have.", parameter, minItems=1, maxItems=10),
        "port": matched_port("The listener's port. Default: every listener."),
        **more,
    }


def value_matches(described: str, one: str) -> Schema:
    bounds = {"start": integer("The lowest."), "end": integer("The first that is too high.")}
    ways: Mapping[str, Schema] = {
        "exact": _value("All of it."),
        "prefix": _value("How it begins."),
        "suffix": _value("How it ends."),
        "regex": _value("A pattern that fits all of it (RE2)."),
        "range": open_fields("A whole number.", bounds, required=["start", "end"]),
    }
    fields = {
        "name": string(f"Name of the {one}.", minLength=1, maxLength=50),
        "match": open_fields("Its value, in one of these ways. Default: any.", ways),
        "invert": boolean("It must not be so. Default: false."),
    }
    return array(described, open_fields(f"One {one}.", fields, required=["name"]), minItems=1, maxItems=10)


def _sds() -> Schema:
    return open_fields(_AWS_ONLY, {"secretName": string("Its name.")}, required=["secretName"])


def _path(described: str) -> Schema:
    return string(described, minLength=1, maxLength=255)


def _value(described: str) -> Schema:
    return string(described, minLength=1, maxLength=255)
