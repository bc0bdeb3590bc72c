"""Which web pages may read answers and send requests that need a preflight: CORS.

CORS stops no simple request, such as a POST of text/plain, and no caller that is not a browser.
"""

from typed import config, typed

_NAME = "envoy.filters.http.cors"
# Envoy matches the whole origin.
_LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"


def filters(settings):
    return [typed(_NAME, "extensions.filters.http.cors.v3.Cors")] if _origins(settings) else []


def policy(settings):
    """Of the virtual host. Tokens are sent by header: cookies and the like play no part."""
    origins = _origins(settings)
    if not origins:
        return {}
    return {_NAME: config(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods="GET, POST, PATCH, DELETE",
        allow_headers="authorization, content-type, grpc-timeout, traceparent, x-grpc-web, "
        "x-user-agent",
        expose_headers="allow, grpc-message, grpc-status, grpc-status-details-bin, "
        "retry-after, x-request-id",
        max_age="600",
    )}  # fmt: skip


def _origins(settings):
    if settings.cors_origins:
        return [{"exact": origin} for origin in settings.cors_origins]
    # Without tokens any page that is allowed could read everything and send every request.
    return [] if settings.jwt else [{"safe_regex": {"regex": _LOCALHOST}}]
