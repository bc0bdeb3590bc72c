"""Which cluster a call goes to, and how long it may take."""

import body_check
import filters
import grpc_calls
import retries
from clusters import SERVICES
from typed import config


def all_of(settings, contract):
    return [*grpc(settings, contract), *rest(settings)]


def grpc(settings, contract):
    """gRPC, gRPC-Web, which is turned into it only later, and REST once it is transcoded."""
    # A message goes on when it is there as a whole: neither a slow nor an endless one takes anything
    # from the server, which looks at its size only then.
    whole = own_buffer(buffer={"max_request_bytes": filters.MAX_GRPC_BYTES})
    as_it_comes = own_buffer(disabled=True)
    found = []
    for service, cluster in SERVICES.items():
        path = f"/energysites.v1.{service}/"
        # Streams last as long as they have something to say; those that are silent for long are
        # closed, and so is one whose client takes nothing.
        stream = {
            "cluster": cluster, "timeout": "0s", "idle_timeout": "300s",
            "retry_policy": retries.CALL,
        }  # fmt: skip
        for owner, method in contract.methods():
            if owner.name != service or not (method.client_streaming or method.server_streaming):
                continue
            found.append({
                "match": {"path": path + method.name, "headers": [grpc_calls.CONTENT_TYPE]},
                "typed_per_filter_config": as_it_comes if method.client_streaming else whole,
                "route": stream,
            })  # fmt: skip
        found.append({
            "match": {"prefix": path, "headers": [grpc_calls.CONTENT_TYPE]},
            "typed_per_filter_config": whole,
            "route": call(settings, cluster),
        })  # fmt: skip
    # Reflection, which is a stream, and health; every instance has them.
    found.append({
        "match": {"prefix": "/", "headers": [grpc_calls.CONTENT_TYPE]},
        "typed_per_filter_config": as_it_comes,
        "route": call(settings, SERVICES["Sites"]),
    })  # fmt: skip
    return found


def own_buffer(**of_route):
    return {
        "envoy.filters.http.buffer": config(
            "extensions.filters.http.buffer.v3.BufferPerRoute", **of_route
        ),
        **body_check.off(),
    }


def rest(settings):
    """REST before it is transcoded. Where it goes is decided after."""
    return [{"match": {"prefix": "/"}, "route": call(settings, SERVICES["Sites"])}]


def call(settings, cluster):
    # From when the request is there as a whole, which may take as long again.
    return {"cluster": cluster, "timeout": settings.call_timeout, "retry_policy": retries.CALL}
