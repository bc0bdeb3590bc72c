"""What a REST write says beside the contract, such as unknown fields of a JSON body: 400.

The transcoder drops that. Before it, the service is asked about each REST write by its method, path
with query, and body; it refuses with HTTP 400 and a google.rpc.Status in JSON. Without its answer
nothing goes on.
"""

import retries
from clusters import SERVICES
from typed import config, typed

# The question holds the body and the headers, and is a message of at most 4 MiB.
MAX_BYTES = 4194304 - 65536

_NAME = "envoy.filters.http.ext_authz"
# These write nothing. All other methods are checked, those too that no path has.
_READS = "GET|HEAD|OPTIONS"


def filters(settings):
    if not settings.unknown_fields_check:
        return []
    return [typed(
        _NAME,
        "extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service=ask(SERVICES["Sites"]),
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        with_request_body={
            "max_request_bytes": MAX_BYTES, "allow_partial_message": False, "pack_as_bytes": True,
        },
    )]  # fmt: skip


def off(settings):
    """For routes without a check: it would hold up a stream until its client is done."""
    if not settings.unknown_fields_check:
        return {}
    return {_NAME: config("extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)}


def routes(settings, route):
    """REST routes that stand before the last one, which is checked by the instances of Sites."""
    if not settings.unknown_fields_check:
        return []
    method = {"name": ":method", "string_match": {"safe_regex": {"regex": _READS}}}
    found = [{
        "match": {"prefix": "/", "headers": [method]},
        "typed_per_filter_config": off(settings),
        "route": route,
    }]  # fmt: skip
    for collection, service in (("liveData", "LiveData"), ("configurations", "Configurations")):
        checked = config(
            "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            check_settings={"grpc_service": ask(SERVICES[service])},
        )
        found.append({
            "match": {"safe_regex": {"regex": f"/v1/(sites/[^/]+/)?{collection}.*"}},
            "typed_per_filter_config": {_NAME: checked},
            "route": route,
        })  # fmt: skip
    return found


def ask(cluster):
    return {
        "envoy_grpc": {"cluster_name": cluster},
        "timeout": "5s",
        "retry_policy": retries.QUESTION,
    }
