"""What is told of each call: a line of JSON on standard output, and a span."""

import access
from typed import typed


def of(settings):
    """Fields of the HTTP connection manager."""
    found = {}
    if settings.access_log:
        found["access_log"] = [access_log()]
    if settings.tracing:
        found["tracing"] = tracing(settings.tracing)
    return found


def access_log():
    """No field of a request and no query is in it: a path has ids at most."""
    return typed(
        "envoy.access_loggers.stdout",
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": {
            "time": "%START_TIME%",
            "request_id": "%REQ(X-REQUEST-ID)%",
            "traceparent": "%REQ(TRACEPARENT)%",
            "trace_id": "%TRACE_ID%",
            "subject": f"%REQ({access.SUBJECT})%",
            "method": "%REQ(:METHOD)%",
            # Of an accepted REST call this is the rpc.
            "path": "%PATH(NQ:PATH)%",
            "protocol": "%PROTOCOL%",
            "status": "%RESPONSE_CODE%",
            "grpc_status": "%GRPC_STATUS%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "flags": "%RESPONSE_FLAGS%",
            "duration_ms": "%DURATION%",
            "received_bytes": "%BYTES_RECEIVED%",
            "sent_bytes": "%BYTES_SENT%",
            "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "upstream": "%UPSTREAM_HOST%",
        }},
    )  # fmt: skip


def tracing(settings):
    """The W3C `traceparent` of each call goes on to the service, without a tracer too."""
    return {
        "provider": typed(
            "envoy.tracers.opentelemetry",
            "config.trace.v3.OpenTelemetryConfig",
            grpc_service={"envoy_grpc": {"cluster_name": "tracing"}, "timeout": "1s"},
            service_name="energy-sites-gateway",
        ),
        # Of all calls, whatever their `traceparent` asks for: a client must not fill the collector.
        "random_sampling": {"value": settings.sampled_percent},
        # The query has values of the caller's.
        "max_path_tag_length": 0,
    }
