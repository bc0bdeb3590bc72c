"""What each call passes on its way, in this order."""

import access
import body_check
import cors
import rate_limits
from clusters import SERVICES
from typed import typed

# The server's own limit of a message.
MAX_BODY_BYTES = 4194304
# With the five bytes that gRPC puts before it.
MAX_GRPC_BYTES = MAX_BODY_BYTES + 5

# What comes with a call, its path and its token included: 431 beyond it. With what the gateway adds,
# and with the 32 bytes that the server counts for each header, this is less than the server takes,
# which would drop the connection, and with it the calls of all others.
MAX_HEADERS_KIB = 48
MAX_HEADERS = 100


def all_of(settings, contract):
    guarded = settings.jwt is not None
    return [
        livez(),
        healthz(),
        access.strip_trailers(),
        # A browser asks before it has a token.
        *cors.filters(settings),
        grpc_web(),
        *([access.verify_token(settings.jwt), access.set_identity()] if guarded else []),
        # Behind the token, so that nobody can use up what belongs to another one.
        *([rate_limits.own(settings.rate_limits)] if guarded else []),
        *([rate_limits.shared()] if guarded and settings.rate_limits.service else []),
        body_limit(),
        body_check.check(contract),
        transcoder(settings),
        *([access.check_scope(contract)] if guarded else []),
        typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router"),
    ]


def livez():
    """GET /livez: 200 while the gateway itself takes calls."""
    return typed(
        "livez",
        "extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": "/livez"}}],
    )


def healthz():
    """GET /healthz: 200 while each service has a healthy instance, else 503."""
    return typed(
        "healthz",
        "extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        cluster_min_healthy_percentages={cluster: {"value": 1} for cluster in SERVICES.values()},
        headers=[{"name": ":path", "string_match": {"exact": "/healthz"}}],
    )


def grpc_web():
    return typed("envoy.filters.http.grpc_web", "extensions.filters.http.grpc_web.v3.GrpcWeb")


def body_limit():
    """The limit of a REST body, and by route of a gRPC message: 413 before anything is sent on.

    10,000 entries of live data fit, indented too.
    """
    return typed(
        "envoy.filters.http.buffer",
        "extensions.filters.http.buffer.v3.Buffer",
        max_request_bytes=MAX_BODY_BYTES,
    )


def transcoder(settings):
    return typed(
        "envoy.filters.http.grpc_json_transcoder",
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=settings.descriptor_set,
        services=[f"energysites.v1.{service}" for service in SERVICES],
        print_options={
            # Names stay snake_case, and zeros and false are printed.
            "preserve_proto_field_names": True,
            "always_print_primitive_fields": True,
            # A stream of answers is one JSON object a line.
            "stream_newline_delimited": True,
        },
        # An error of the server becomes a google.rpc.Status with all its details.
        convert_grpc_status=True,
        # A form writes a space as +: `?order_by=dt_stamp+desc`.
        query_param_unescape_plus=True,
        # A misspelt parameter or method is refused, never ignored.
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        # What the transcoder itself may hold of one call.
        max_request_body_size=MAX_BODY_BYTES,
        max_response_body_size=16777216,
    )
