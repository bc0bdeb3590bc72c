"""The Envoy of the chart, with the configuration that the chart gives it, before three servers."""

import base64

import pytest
import requests
import yaml
from energysites.v1 import live_data_pb2
from support.calls import create_site, entry
from support.chart import Chart
from support.envoy import BINARY, Rest
from support.process import Process, free_ports, wait_until
from support.stubs import Stubs

NAME = "meadow-energy-sites"
CLUSTERS = {"sites": "sites", "configurations": "configurations", "live_data": "live-data"}


@pytest.fixture
def servers(start_server, database):
    """One of each service: flag -> server."""
    return {flag: start_server(database, flags=[f"--services={flag}"]) for flag in CLUSTERS}


@pytest.fixture
def port(servers, tmp_path):
    """Envoy's, with pods in the names of the Services."""
    config_map = Chart(tmp_path).objects({}).of("ConfigMap")[f"{NAME}-envoy"]
    for name, content in config_map["binaryData"].items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    config = yaml.safe_load(config_map["data"]["envoy.yaml"].replace("/etc/envoy/", f"{tmp_path}/"))
    (port,) = free_ports(1)
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    for cluster in config["static_resources"]["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = group["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address == {"address": f"{NAME}-{CLUSTERS[cluster['name']]}", "port_value": 50051}
        address.update(address="127.0.0.1", port_value=servers[cluster["name"]].port)
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    envoy = Process(
        [BINARY, "--config-path", path, "--disable-hot-restart", "--concurrency", 1,
         "--log-level", "warning"],
        tmp_path / "envoy.log",
    )  # fmt: skip
    try:
        envoy.wait_healthy(lambda: answers(port, "healthz") == 200, 60, "Envoy finds the servers")
        yield port
    finally:
        envoy.kill()


def answers(port, page):
    """The status of a page of Envoy's own, None before there is one."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/{page}", timeout=5).status_code
    except requests.ConnectionError:
        return None


def test_each_service_is_reached_over_grpc_and_rest(port):
    stubs, rest = Stubs(f"127.0.0.1:{port}"), Rest(f"http://127.0.0.1:{port}")
    site_id = create_site(stubs).id
    assert rest.get(f"/v1/sites/{site_id}").json()["id"] == str(site_id)
    made = rest.post("/v1/configurations", {
        "site_id": str(site_id), "battery_vendor": "Tesla", "battery_capacity_kwh": 13.5,
        "battery_max_power_kw": 5, "production_pv_units": 1, "production_bio_units": 0,
        "production_cro_units": 0,
    })  # fmt: skip
    assert made.status_code == 200, made.text
    request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id))
    stored = stubs.live_data.CreateLiveDataEntry(request, timeout=30)
    assert rest.get(f"/v1/sites/{site_id}/liveData/{stored.id}").json()["site_id"] == str(site_id)
    download = rest.get("/v1/liveData:download", params={"site_ids": site_id, "format": "ndjson"})
    assert download.text.endswith('{"end":{"rows":1}}\n')
    stubs.close()


def test_one_service_away_leaves_the_others(port, servers):
    rest = Rest(f"http://127.0.0.1:{port}")
    servers["live_data"].kill()
    wait_until(lambda: answers(port, "healthz") == 503, 20, "Envoy sees that one is away")
    assert rest.get("/v1/sites").status_code == 200
    assert rest.get("/v1/liveData").status_code == 503
    # Kubernetes must not take Envoy away for that.
    assert answers(port, "livez") == 200
