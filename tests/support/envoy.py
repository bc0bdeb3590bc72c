"""Starts Envoy with the configuration of deploy/envoy/ in front of a server."""

import subprocess

import requests
import yaml

from support.process import BUILD, ROOT, Process, free_ports
from support.stubs import Stubs

BINARY = ROOT / ".deps" / "venv" / "bin" / "envoy"


def render(settings, *options):
    """Envoy's configuration as YAML; raises subprocess.CalledProcessError with an error message."""
    return subprocess.run(
        [ROOT / "deploy/envoy/render", "-", *options], input=yaml.safe_dump(settings), text=True,
        capture_output=True, check=True,
    ).stdout  # fmt: skip


def local_settings(port, grpc_port, **changes):
    """The settings of deploy/up: no authentication, and one server with all three services."""
    server = [f"127.0.0.1:{grpc_port}"]
    return {
        "listen": f"127.0.0.1:{port}",
        "descriptor_set": str(BUILD / "energy_sites.pb"),
        "upstream": {"sites": server, "configurations": server, "live_data": server},
        "tls": None,
        "jwt": None,
        **changes,
    }


class Envoy:
    """REST and gRPC at `url` and `address`, sent on to 127.0.0.1:`grpc_port`."""

    ca = None  # The file with the CA of its certificate, if it has one.

    def __init__(self, grpc_port, folder, ready=True, **settings):
        """`settings` replace local settings. With `ready`, also waits for the server."""
        self.start(local_settings(free_ports(1)[0], grpc_port, **settings), folder, ready)

    def start(self, settings, folder, ready):
        self.run(render(settings), settings["listen"], folder, ready)

    def run(self, configuration, address, folder, ready=True):
        """With the configuration text `configuration`, which listens on `address`."""
        self.address = address
        self.port = int(address.rpartition(":")[2])
        self.url = f"{'https' if self.ca else 'http'}://{address}"
        config = folder / f"envoy-{self.port}.yaml"
        config.write_text(configuration)
        self.process = Process(
            [BINARY, "--config-path", config, "--disable-hot-restart", "--concurrency", 1,
             "--log-level", "warning", "--file-flush-interval-msec", 100],
            folder / f"envoy-{self.port}.log",
        )  # fmt: skip
        self.process.wait_healthy(
            lambda: self.answers(200 if ready else None), 60, f"{self.url}/healthz answers"
        )

    def answers(self, status=None):
        """Whether /healthz responds at all, or with `status`."""
        try:
            code = requests.get(f"{self.url}/healthz", timeout=5, verify=self.ca).status_code
        except requests.ConnectionError:
            return False
        return status is None or code == status

    def stop(self):
        return self.process.stop()

    def rest(self):
        return Rest(self.url)

    def stubs(self):
        return Stubs(self.address)


class Rest:
    """Calls to a base URL: `rest.get("/v1/sites")`. The responses are those of `requests`."""

    def __init__(self, url, ca=None, headers=()):
        self.url = url
        self._session = requests.Session()
        # Passed with each call, because the environment may override the settings of a session.
        self._ca = ca
        self._session.headers.update(headers)

    def call(self, method, path, **arguments):
        return self._session.request(
            method, self.url + path,
            **{"timeout": 60, "allow_redirects": False, "verify": self._ca, **arguments},
        )  # fmt: skip

    def get(self, path, **arguments):
        return self.call("GET", path, **arguments)

    def post(self, path, json, **arguments):
        return self.call("POST", path, json=json, **arguments)

    def patch(self, path, json, **arguments):
        return self.call("PATCH", path, json=json, **arguments)

    def delete(self, path, **arguments):
        return self.call("DELETE", path, **arguments)
