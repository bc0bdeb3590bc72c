"""From a clone in an empty folder to a running service and back: deploy/up and deploy/down."""

import os
import pathlib
import shutil
import subprocess

import pytest
import requests

from support.process import ROOT, free_ports, wait_until

PORTS = ("GRPC_PORT", "HTTP_PORT", "ADMIN_PORT", "PROMETHEUS_PORT")


class Clone:
    def __init__(self, folder):
        self._folder = folder
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        state = self.run("bash", "-c", "source deploy/lib.sh && state_dir")
        self._state = pathlib.Path(state.stdout.strip())

    def run(self, *command):
        ports = {name: str(port) for name, port in self.ports.items()}
        return subprocess.run(
            command, cwd=self._folder, env={**os.environ, **ports}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=3600, check=False,
        )  # fmt: skip

    def remove(self):
        self.run("deploy/down")
        shutil.rmtree(self._state, ignore_errors=True)

    def get(self, port, path):
        return requests.get(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=10)


@pytest.fixture
def clone(tmp_path):
    clone = Clone(tmp_path / "energy-sites")
    yield clone
    clone.remove()


def test_up_and_down(clone):
    up = clone.run("deploy/up", "--detach", "--with-monitoring")
    assert up.returncode == 0, up.stdout + up.stderr
    assert clone.get("HTTP_PORT", "/healthz").ok
    assert clone.get("ADMIN_PORT", "/readyz").ok
    site = requests.post(
        f"http://127.0.0.1:{clone.ports['HTTP_PORT']}/v1/sites",
        json={"name": "Meadow", "location": "Brno"}, timeout=10,
    )  # fmt: skip
    assert site.ok, site.text

    def targets():
        data = clone.get("PROMETHEUS_PORT", "/api/v1/targets").json()["data"]
        return [target["health"] for target in data["activeTargets"]]

    wait_until(lambda: targets() == ["up"], 60, "Prometheus reads the server")
    groups = clone.get("PROMETHEUS_PORT", "/api/v1/rules").json()["data"]["groups"]
    assert {rule["type"] for group in groups for rule in group["rules"]} == {"alerting", "recording"}

    down = clone.run("deploy/down")
    assert down.returncode == 0, down.stdout + down.stderr
    for port in PORTS:
        with pytest.raises(requests.ConnectionError):
            clone.get(port, "/")
    # The data stay.
    again = clone.run("deploy/up", "--detach")
    assert again.returncode == 0, again.stdout + again.stderr
    assert clone.get("HTTP_PORT", f"/v1/sites/{site.json()['id']}").json() == site.json()
