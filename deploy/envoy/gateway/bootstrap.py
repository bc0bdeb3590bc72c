"""The whole of the configuration: what the gateway listens on, where it sends, what it may use."""

import clusters
import listener
from settings import address
from typed import typed

MAX_CONNECTIONS = 10000


def config(settings, contract):
    return {
        "static_resources": {
            "listeners": [listener.edge(settings, contract)],
            "clusters": clusters.all_of(settings),
        },
        "overload_manager": overload_manager(settings),
        **({"admin": metrics(settings)} if settings.metrics_listen else {}),
    }


def metrics(settings):
    """Of all that the admin port can do, this alone."""
    return {
        "address": clusters.socket_address(*address(settings.metrics_listen)),
        "allow_paths": [{"exact": "/stats/prometheus"}],
    }


def overload_manager(settings):
    heap = "envoy.resource_monitors.fixed_heap"

    def at(share, name):
        trigger = {"name": heap, "threshold": {"value": share}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            # Further connections are closed at once: each costs memory before it has sent a thing.
            typed(
                "envoy.resource_monitors.global_downstream_max_connections",
                "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=MAX_CONNECTIONS,
            ),
            typed(
                heap,
                "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=settings.heap_limit_mib * 1024 * 1024,
            ),
        ],
        # As memory runs out: give back what is free, let idle connections go, then refuse calls
        # (503), and at last close new connections.
        "actions": [
            at(0.85, "shrink_heap"),
            at(0.90, "disable_http_keepalive"),
            at(0.95, "stop_accepting_requests"),
            at(0.98, "reject_incoming_connections"),
        ],
    }
