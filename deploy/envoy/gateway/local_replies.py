"""What Envoy itself answers: a google.rpc.Status in JSON, for gRPC a code and a text.

`code` is one of google.rpc.Code. The first mapper whose filter fits is taken.
"""

import base64
import re

from google.rpc import code_pb2, error_details_pb2, status_pb2

import body_check
import filters
import grpc_calls
import rate_limits
from typed import typed

_TEXT = "%LOCAL_REPLY_BODY%"
_DETAILS = [{
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "domain": "envoy",
    "reason": "NOT_FORWARDED",
    "metadata": {"details": "%RESPONSE_CODE_DETAILS%"},
}]  # fmt: skip
_RETRY_INFO = {
    "@type": "type.googleapis.com/google.rpc.RetryInfo",
    "retry_delay": f"{rate_limits.RETRY_SECONDS}s",
}


def config(settings, contract):
    return {
        "mappers": [
            *(wrong_audience() if settings.jwt else []),
            *(too_many_calls() if settings.jwt else []),
            *no_healthy_instance(),
            # The codes that the server itself gives, where Envoy would say UNKNOWN or UNAVAILABLE.
            grpc_mapper(413, "RESOURCE_EXHAUSTED", f"A message may have {filters.MAX_BODY_BYTES} bytes."),
            grpc_mapper(408, "DEADLINE_EXCEEDED"),
            grpc_mapper(504, "DEADLINE_EXCEEDED"),
            # A gRPC call gets its text in `grpc-message`, where JSON would only be noise.
            {"filter": is_grpc(), "body_format_override": text(_TEXT)},
            # /healthz of a healthy server.
            {"filter": status(200), "body_format_override": text("ok\n")},
            refused_body(),
            # An unknown query parameter, a value of the wrong type, a field that both the path and
            # the body give.
            *bad_requests(),
            mapper(status(400), "INVALID_ARGUMENT"),
            # No token, or one that does not count.
            mapper(status(401), "UNAUTHENTICATED"),
            # A token without the scope of the method.
            mapper(status(403), "PERMISSION_DENIED"),
            *wrong_methods(contract),
            mapper(status(404), "NOT_FOUND"),
            # The client was too slow (408) or the server was (504).
            mapper(status(408), "DEADLINE_EXCEEDED"),
            mapper(status(504), "DEADLINE_EXCEEDED"),
            # The body (413) or the headers (431) are too large.
            mapper(
                status(413), "RESOURCE_EXHAUSTED",
                f"The body may have {filters.MAX_BODY_BYTES} bytes. Send less at a time.",
            ),
            mapper(
                status(431), "RESOURCE_EXHAUSTED",
                f"The path and the headers may have {filters.MAX_HEADERS_KIB} KiB and"
                f" {filters.MAX_HEADERS} headers in all. Send less.",
            ),
            # A server that broke off, or the gateway itself has no memory left.
            mapper(status(502), "UNAVAILABLE"),
            mapper(status(503), "UNAVAILABLE"),
        ],
        "body_format": body("UNKNOWN"),
    }


def bad_requests():
    """400 where Envoy's text does not name the cause, or what to send."""
    # The transcoder reads + as a space, and says that the time has no valid offset. Only an offset
    # after a time of day had a + there: a space at another place is another fault.
    time_of_day = "[0-9]{2}(:|%3[aA])[0-9]{2}((:|%3[aA])[0-9]{2}([.][0-9]+)?)?"
    offset = "[0-9]{2}((:|%3[aA])?[0-9]{2})?"
    time = rf"[^?]*\?(.*&)?[^=&]*[tT]ime=[^&]*{time_of_day}(\+|%20){offset}(&.*)?"
    original_path = {"name": "x-envoy-original-path", "string_match": {"safe_regex": {"regex": time}}}
    yield mapper(
        all_of(status(400), header(original_path)), "INVALID_ARGUMENT",
        f"{_TEXT} (In the query of a URL, + means a space: send + as %%2B, or a time that ends in Z.)",
    )  # fmt: skip
    yield mapper(
        code_details("response.code_details == 'path_normalization_failed'"), "INVALID_ARGUMENT",
        "The path must not have an escaped slash (%%2F or %%5C): send / instead.",
    )  # fmt: skip
    yield mapper(
        code_details("response.code_details.endsWith('unexpected_underscore')"), "INVALID_ARGUMENT",
        "The name of a header must not have an underscore: leave that header out.",
    )  # fmt: skip


def wrong_methods(contract):
    """The transcoder says 404 to a path that does exist, but not with this HTTP method: 405."""
    verbs = {}
    for _, method in contract.methods():
        for binding in contract.bindings(method):
            path = re.sub(r"\{[^}]+\}", "{}", binding.path)
            verbs.setdefault(path, set()).add(binding.verb.upper())
    paths = {}
    for path, allowed in verbs.items():
        in_order = [verb for verb in ("GET", "POST", "PATCH", "PUT", "DELETE") if verb in allowed]
        paths.setdefault(", ".join(in_order), []).append(path)
    for allow, group in paths.items():
        regex = "|".join(path.replace("{}", "[^/?]+") for path in group)
        of_path = {"name": ":path", "string_match": {"safe_regex": {"regex": rf"({regex})(\?.*)?"}}}
        yield {
            **mapper(
                all_of(status(404), header(of_path)), "UNIMPLEMENTED",
                message=f"%REQ(:METHOD)% is not a method of this path. It takes {allow}.",
            ),
            "status_code": 405,
            "headers_to_add": [{"header": {"key": "allow", "value": allow}}],
        }  # fmt: skip


def wrong_audience():
    """jwt_authn answers 403 to a token for somebody else, which is as good as none."""
    details = "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}"
    found = code_details(f"response.code_details == '{details}'")
    over_grpc = {"filter": all_of(is_grpc(), found), "body_format_override": text(_TEXT)}
    over_rest = mapper(found, "UNAUTHENTICATED")
    return [{**one, "status_code": 401} for one in (over_grpc, over_rest)]


def too_many_calls():
    message = "Too many calls. Wait, then try again."
    return told_to_wait(status(429), "RESOURCE_EXHAUSTED", message)


def no_healthy_instance():
    found = all_of(status(503), {"response_flag_filter": {"flags": ["UH"]}})
    return told_to_wait(found, "UNAVAILABLE", "no healthy upstream")


def told_to_wait(found, code, message):
    """With how long to wait, as gRPC and as REST clients read it."""
    seconds = rate_limits.RETRY_SECONDS
    # Clients want the same text there as in `grpc-message`.
    told = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = seconds
    told.details.add().Pack(retry)
    over_grpc = {
        "filter": all_of(is_grpc(), found),
        "body_format_override": text(message),
        "headers_to_add": headers({
            "retry-after": str(seconds),
            "grpc-status-details-bin": base64.b64encode(told.SerializeToString()).decode(),
            "grpc-retry-pushback-ms": str(seconds * 1000),
        }),
    }  # fmt: skip
    over_rest = {
        **mapper(found, code, message, [*_DETAILS, _RETRY_INFO]),
        "headers_to_add": headers({"retry-after": str(seconds)}),
    }
    return [over_grpc, over_rest]


def headers(values):
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def grpc_mapper(http_code, code, message=_TEXT):
    status_header = {"key": "grpc-status", "value": str(code_pb2.Code.Value(code))}
    return {
        "filter": all_of(is_grpc(), status(http_code)),
        "body_format_override": text(message),
        "headers_to_add": [{"header": status_header}],
    }


def refused_body():
    """The answer of the check of bodies goes out as it is."""
    found = code_details(f"response.code_details == '{body_check.DETAILS}'")
    json = {**text(_TEXT), "content_type": "application/json"}
    return {"filter": all_of(status(400), found), "body_format_override": json}


def mapper(found, code, message=_TEXT, details=None):
    return {"filter": found, "body_format_override": body(code, message, details)}


def body(code, message=_TEXT, details=None):
    return {"json_format": {
        "code": code_pb2.Code.Value(code), "message": message, "details": details or _DETAILS,
    }}  # fmt: skip


def text(format_string):
    return {"text_format_source": {"inline_string": format_string}}


def status(code):
    value = {"default_value": code, "runtime_key": "none"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def is_grpc():
    """A REST call looks the same once it is transcoded, but for the second header."""
    return all_of(
        header(grpc_calls.CONTENT_TYPE),
        header({"name": "x-envoy-original-path", "present_match": False}),
    )


def code_details(expression):
    """What Envoy itself calls the fault."""
    return {"extension_filter": typed(
        "envoy.access_loggers.extension_filters.cel",
        "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=expression,
    )}  # fmt: skip


def header(matcher):
    return {"header_filter": {"header": matcher}}


def all_of(*filters):
    return {"and_filter": {"filters": list(filters)}}
