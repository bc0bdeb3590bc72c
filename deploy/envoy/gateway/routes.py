"""Which cluster a call goes to, and how long it may take."""

import body_check
from clusters import SERVICES
from typed import config, typed

# Only where the server cannot have seen the call: a repeat is safe. By another instance, if one is.
RETRY = {
    "retry_on": "connect-failure,refused-stream",
    "num_retries": 2,
    "retry_host_predicate": [typed(
        "envoy.retry_host_predicates.previous_hosts",
        "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )],
    "host_selection_retry_max_attempts": 3,
}  # fmt: skip

# gRPC, and gRPC-Web, which is turned into it only after its route is found.
_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}


def all_of(settings, contract):
    return [*grpc(settings, contract), *rest(settings)]


def grpc(settings, contract):
    """gRPC, and REST once it is transcoded."""
    unbuffered = {
        "envoy.filters.http.buffer": config(
            "extensions.filters.http.buffer.v3.BufferPerRoute", disabled=True
        ),
        **body_check.off(settings),
    }
    found = []
    for service, cluster in SERVICES.items():
        path = f"/energysites.v1.{service}/"
        streams = [
            method.name for owner, method in contract.methods()
            if owner.name == service and (method.client_streaming or method.server_streaming)
        ]  # fmt: skip
        if streams:
            # Streams last as long as they have something to say; those that are silent for long are
            # closed, and so is one whose client takes nothing.
            regex = f"{path.replace('.', chr(92) + '.')}({'|'.join(streams)})"
            found.append({
                "match": {"safe_regex": {"regex": regex}, "headers": [_GRPC]},
                "typed_per_filter_config": unbuffered,
                "route": {
                    "cluster": cluster, "timeout": "0s", "idle_timeout": "300s",
                    "retry_policy": RETRY,
                },
            })  # fmt: skip
        found.append({
            "match": {"prefix": path, "headers": [_GRPC]},
            "typed_per_filter_config": unbuffered,
            "route": call(settings, cluster),
        })  # fmt: skip
    # Reflection and health, which every instance has.
    found.append({
        "match": {"prefix": "/", "headers": [_GRPC]},
        "typed_per_filter_config": unbuffered,
        "route": call(settings, SERVICES["Sites"]),
    })  # fmt: skip
    return found


def rest(settings):
    """REST before it is transcoded. Where it goes is decided after."""
    anywhere = call(settings, SERVICES["Sites"])
    return [*body_check.routes(settings, anywhere), {"match": {"prefix": "/"}, "route": anywhere}]


def call(settings, cluster):
    # No call takes longer, unless the client asks for more by grpc-timeout.
    return {"cluster": cluster, "timeout": settings.call_timeout, "retry_policy": RETRY}
