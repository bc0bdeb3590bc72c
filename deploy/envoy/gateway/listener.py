"""The one port that clients see: TLS, HTTP/1.1 and HTTP/2, limits of connections and headers."""

import access
import cors
import filters
import local_replies
import observation
import routes
from clusters import socket_address
from settings import address
from typed import typed


def edge(settings, contract):
    chain = {"filters": [http(settings, contract)]}
    if settings.tls:
        chain["transport_socket"] = downstream_tls(settings.tls)
    return {
        "name": "edge",
        "address": socket_address(*address(settings.listen)),
        # A taken port is an error, and not a second Envoy that gets half of the calls.
        "enable_reuse_port": False,
        # At most this much of one connection is held in memory, where no filter asks for more.
        "per_connection_buffer_limit_bytes": 1048576,
        "filter_chains": [chain],
    }


def downstream_tls(tls):
    return typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [{
                "certificate_chain": {"filename": tls.certificate},
                "private_key": {"filename": tls.key},
            }],
        },
    )  # fmt: skip


def http(settings, contract):
    return typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        # HTTP/1.1 and HTTP/2 (also without TLS), by what the client speaks first.
        codec_type="AUTO",
        server_name="energy-sites",
        use_remote_address=True,
        # Every answer tells the id by which logs know the call; a client's own id does not count.
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        common_http_protocol_options={
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": filters.MAX_HEADERS,
        },
        http2_protocol_options={
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1048576,
        },
        max_request_headers_kb=filters.MAX_HEADERS_KIB,
        # A client has this long to send its headers, and all of its request, however steadily it
        # comes. A stream whose answers have begun has all the time; an idle one lives this long.
        request_headers_timeout="10s",
        request_timeout=settings.call_timeout,
        stream_idle_timeout=settings.stream_idle_timeout,
        early_header_mutation_extensions=[access.strip_headers()],
        **observation.of(settings),
        local_reply_config=local_replies.config(settings, contract),
        route_config={"virtual_hosts": [virtual_host(settings, contract)]},
        http_filters=filters.all_of(settings, contract),
    )


def virtual_host(settings, contract):
    return {
        "name": "energy_sites",
        "domains": ["*"],
        "routes": routes.all_of(settings, contract),
        "typed_per_filter_config": cors.policy(settings),
    }
