"""Where calls go: the three services, and what the gateway itself asks."""

import ipaddress
import urllib.parse

from settings import SettingsError, address
from typed import config, typed

# Clusters, by the name of the service that each has the instances of.
SERVICES = {"Sites": "sites", "Configurations": "configurations", "LiveData": "live_data"}


def all_of(settings):
    found = [service(settings, name, cluster) for name, cluster in SERVICES.items()]
    if settings.jwt and settings.jwt.jwks_url:
        found.append(jwks(settings.jwt))
    if settings.jwt and settings.rate_limits.service:
        found.append(helper("rate_limit_service", settings.rate_limits.service))
    if settings.tracing:
        found.append(helper("tracing", settings.tracing.collector))
    return found


def service(settings, name, cluster):
    upstream = settings.upstream
    # What is on its way to a slow reader waits in the server, not here. Streams share the
    # connection's window, so that one which stands still must not use much of it.
    made = grpc_cluster(
        cluster, getattr(upstream, cluster),
        initial_stream_window_size=1048576, initial_connection_window_size=268435456,
    )  # fmt: skip
    if upstream.tls:
        made["transport_socket"] = upstream_tls(upstream.tls)
    made["health_checks"] = [{
        "timeout": "2s",
        "interval": "2s",
        # After a failure, ask more often: a server that is back gets its calls soon.
        "unhealthy_interval": "0.25s",
        "no_traffic_interval": "2s",
        "no_traffic_healthy_interval": "2s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        # An instance that does not serve this service is not healthy for it.
        "grpc_health_check": {"service_name": f"energysites.v1.{name}"},
    }]  # fmt: skip
    made["common_lb_config"] = {
        # Without a healthy server calls fail at once, and are not sent to a sick one.
        "healthy_panic_threshold": {"value": 0},
        # A change of health counts at once, for /healthz and for calls alike.
        "update_merge_window": "0s",
    }
    # Only what an instance's own network says: a call that it answers, with whatever error, says
    # nothing about the instance alone, and its health it tells itself. Half may be out at most.
    made["outlier_detection"] = {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 50,
    }
    # Above what the server queues: it is the server that says RESOURCE_EXHAUSTED. All calls that
    # fail with one connection go to another instance at once.
    limits = {
        "max_connections": 64, "max_pending_requests": 10000, "max_requests": 10000,
        "max_retries": 10000,
    }  # fmt: skip
    made["circuit_breakers"] = {"thresholds": [limits]}
    return made


def grpc_cluster(name, addresses, **http2_options):
    hosts = [address(one) for one in addresses]
    return {
        "name": name,
        **({"type": "STATIC"} if all(is_ip(host) for host, _ in hosts) else found_by_name()),
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": config(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http2_protocol_options": http2_options},
            )
        },
        "load_assignment": load_assignment(name, hosts),
    }


def found_by_name():
    """Each address that a name has is an instance, and they come and go."""
    dns = config("extensions.clusters.dns.v3.DnsCluster", dns_refresh_rate="5s", respect_dns_ttl=True)
    return {"cluster_type": {"name": "envoy.clusters.dns", "typed_config": dns}}


def helper(name, host_and_port):
    return grpc_cluster(name, [host_and_port])


def jwks(jwt):
    """The server of the URL that has the keys."""
    url = urllib.parse.urlsplit(jwt.jwks_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SettingsError(f"jwt.jwks_url: must be an http or https URL, got {jwt.jwks_url}")
    port = url.port or (443 if url.scheme == "https" else 80)
    made = {
        "name": "jwks",
        **({"type": "STATIC"} if is_ip(url.hostname) else found_by_name()),
        "connect_timeout": "2s",
        "load_assignment": load_assignment("jwks", [(url.hostname, port)]),
    }
    if url.scheme == "https":
        made["transport_socket"] = tls_socket(
            url.hostname, {"validation_context": validation(jwt.jwks_ca, url.hostname)}
        )
    return made


def upstream_tls(tls):
    return tls_socket(tls.server_name, {
        "alpn_protocols": ["h2"],
        # The services take calls from nobody else: they trust what the gateway says of a caller.
        "tls_certificates": [{
            "certificate_chain": {"filename": tls.certificate},
            "private_key": {"filename": tls.key},
        }],
        "validation_context": validation(tls.ca, tls.server_name),
    })  # fmt: skip


def tls_socket(server_name, common):
    sni = {} if is_ip(server_name) else {"sni": server_name}
    return typed(
        "envoy.transport_sockets.tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        **sni, common_tls_context=common,
    )  # fmt: skip


def validation(ca, name):
    san_type = "IP_ADDRESS" if is_ip(name) else "DNS"
    return {
        "trusted_ca": {"filename": ca},
        "match_typed_subject_alt_names": [{"san_type": san_type, "matcher": {"exact": name}}],
    }


def load_assignment(name, hosts):
    endpoints = [{"endpoint": {"address": socket_address(*host)}} for host in hosts]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def socket_address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def is_ip(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
