"""Starts Envoy with the configuration of deploy/envoy/ in front of a server."""

import subprocess

import requests

from support.process import BUILD, ROOT, Process, free_ports

BINARY = ROOT / ".deps" / "venv" / "bin" / "envoy"


class Envoy:
    """REST and gRPC at `url` and `address`, sent on to 127.0.0.1:`grpc_port`."""

    def __init__(self, grpc_port, folder, change=lambda config: config, ready=True):
        """`change` may edit the configuration's text. With `ready`, waits for the server too."""
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        config = folder / f"envoy-{self.port}.yaml"
        render = [ROOT / "deploy/envoy/render", self.port, grpc_port, BUILD / "energy_sites.pb"]
        text = subprocess.run(
            [str(word) for word in render], capture_output=True, text=True, check=True
        ).stdout
        config.write_text(change(text))
        self.process = Process(
            [BINARY, "--config-path", config, "--disable-hot-restart", "--concurrency", 1,
             "--log-level", "warning"],
            folder / f"envoy-{self.port}.log",
        )  # fmt: skip
        self.process.wait_healthy(
            lambda: self.answers(200 if ready else None), 60, f"{self.url}/healthz answers"
        )

    def answers(self, status=None):
        """Whether /healthz answers at all, or with `status`."""
        try:
            code = requests.get(f"{self.url}/healthz", timeout=5).status_code
        except requests.ConnectionError:
            return False
        return status is None or code == status

    def stop(self):
        return self.process.stop()


class Rest:
    """Calls to a base URL: `rest.get("/v1/sites")`. The answers are those of `requests`."""

    def __init__(self, url):
        self.url = url
        self._session = requests.Session()

    def call(self, method, path, **arguments):
        return self._session.request(
            method, self.url + path, **{"timeout": 60, "allow_redirects": False, **arguments}
        )

    def get(self, path, **arguments):
        return self.call("GET", path, **arguments)

    def post(self, path, json, **arguments):
        return self.call("POST", path, json=json, **arguments)

    def patch(self, path, json, **arguments):
        return self.call("PATCH", path, json=json, **arguments)

    def delete(self, path, **arguments):
        return self.call("DELETE", path, **arguments)
