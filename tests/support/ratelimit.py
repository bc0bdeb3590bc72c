"""The rate limit service that gateways share, with its own Redis."""

import socket

import requests
import yaml

from support.process import ROOT, Process, free_ports

BINARY = ROOT / ".deps" / "bin" / "service_cmd"


class RateLimit:
    """envoyproxy/ratelimit at `address`, configured with `descriptors`."""

    def __init__(self, folder, descriptors):
        redis_port, http_port, grpc_port, debug_port = free_ports(4)
        self.address = f"127.0.0.1:{grpc_port}"
        self._redis = Process(
            ["redis-server", "--bind", "127.0.0.1", "--port", redis_port, "--save", "",
             "--dir", folder],
            folder / "redis.log",
        )  # fmt: skip
        try:
            self._redis.wait_healthy(lambda: accepts(redis_port), 60, "Redis listens")
            self._start(folder, descriptors, redis_port, http_port, grpc_port, debug_port)
        except BaseException:
            self._redis.kill()
            raise

    def _start(self, folder, descriptors, redis_port, http_port, grpc_port, debug_port):
        config = folder / "ratelimit" / "config"
        config.mkdir(parents=True)
        limits = {"domain": "energy-sites", "descriptors": descriptors}
        (config / "limits.yaml").write_text(yaml.safe_dump(limits))
        self._service = Process([BINARY], folder / "ratelimit.log", {
            "RUNTIME_ROOT": str(folder), "RUNTIME_SUBDIRECTORY": "ratelimit",
            "RUNTIME_WATCH_ROOT": "false", "USE_STATSD": "false", "USE_PROMETHEUS": "false",
            "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"127.0.0.1:{redis_port}",
            "HOST": "127.0.0.1", "PORT": str(http_port), "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": str(grpc_port), "DEBUG_HOST": "127.0.0.1", "DEBUG_PORT": str(debug_port),
        })  # fmt: skip
        self._service.wait_healthy(
            lambda: answers(f"http://127.0.0.1:{http_port}/healthcheck"), 60, "it is healthy"
        )

    def stop(self):
        self._service.kill()
        self._redis.kill()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def answers(url):
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
