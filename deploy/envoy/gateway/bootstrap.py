"""The whole of the configuration: what the gateway listens on, where it sends, what it may use."""

import clusters
import listener
from settings import address
from typed import typed

MAX_CONNECTIONS = 10000
# As a power of two: 64 KiB. What a call holds counts from here on, in steps of two up to 8 MiB.
TRACKED_CALL_BYTES = 16


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

    def action(name, **trigger):
        return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": heap, **trigger}]}

    def at(share, name):
        return action(name, threshold={"value": share})

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
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": TRACKED_CALL_BYTES},
        # As memory runs out: end the calls that hold most of it, those of some MiB first, give back
        # what is free, let idle connections go, then refuse calls (503), and at last close new
        # connections. So those pay for it first who take it.
        "actions": [
            action(
                "reset_high_memory_stream",
                scaled={"scaling_threshold": 0.70, "saturation_threshold": 0.85},
            ),
            at(0.85, "shrink_heap"),
            at(0.90, "disable_http_keepalive"),
            at(0.95, "stop_accepting_requests"),
            at(0.98, "reject_incoming_connections"),
        ],
    }
