"""The Envoy of the chart, with the configuration that the chart gives it, before three servers."""

import base64
import functools
import shutil

import grpc
import pytest
import requests
import yaml
from energysites.v1 import sites_pb2
from support.calls import create_entry, create_site, fail, outcome
from support.chart import Chart, gateway_values, secrets_of_the_page
from support.gateway import Gateway
from support.process import free_ports, wait_until
from support.rest_errors import check
from support.stubs import Stubs

NAME = "meadow-energy-sites"
CLUSTERS = {"sites": "sites", "configurations": "configurations", "live_data": "live-data"}
LIST = sites_pb2.ListSitesRequest()


class Installed(Gateway):
    """One server of each service, with the chart's flags, and Envoy in front of them.

    Each Secret and ConfigMap is a folder of its name in `folder`.
    """

    def __init__(self, values, folder, start_server, database, ca=None):
        self.ca, self._folder = ca, folder
        objects = Chart(folder / "chart").objects(values)
        self.pods = pods = objects.pods()
        self.servers = {
            flag: start_server(database, flags=self._flags(pods[f"{NAME}-{name}"]))
            for flag, name in CLUSTERS.items()
        }
        self._write(objects.of("ConfigMap")[f"{NAME}-envoy"])
        (port,) = free_ports(1)
        self.run(self._configuration(pods[f"{NAME}-envoy"], port), f"127.0.0.1:{port}", folder)

    def _flags(self, pod):
        """Those that are not about a place: a port, or the database."""
        (container,) = pod["spec"]["containers"]
        wanted = ("--services=", "--identity=", "--tls_")
        return [self._found(one, pod) for one in container["args"] if one.startswith(wanted)]

    def _write(self, config_map):
        folder = self._folder / config_map["metadata"]["name"]
        folder.mkdir()
        for name, content in config_map["data"].items():
            (folder / name).write_text(content)
        for name, content in config_map["binaryData"].items():
            (folder / name).write_bytes(base64.b64decode(content))

    def _configuration(self, pod, port):
        """As the pod has it, but for the addresses."""
        (container,) = pod["spec"]["containers"]
        path = self._found(container["args"][container["args"].index("--config-path") + 1], pod)
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(self._found(file.read(), pod))
        (listener,) = config["static_resources"]["listeners"]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
        (metrics_port,) = free_ports(1)
        config["admin"]["address"]["socket_address"] = {
            "address": "127.0.0.1", "port_value": metrics_port,
        }  # fmt: skip
        for cluster in config["static_resources"]["clusters"]:
            (group,) = cluster["load_assignment"]["endpoints"]
            (endpoint,) = group["lb_endpoints"]
            address = endpoint["endpoint"]["address"]["socket_address"]
            name = f"{NAME}-{CLUSTERS[cluster['name']]}"
            assert address == {"address": name, "port_value": 50051}
            address.update(address="127.0.0.1", port_value=self.servers[cluster["name"]].port)
        return yaml.safe_dump(config)

    def _found(self, text, pod):
        """`text` with the paths in `pod` replaced by those here."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        (container,) = pod["spec"]["containers"]
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            secret, config_map = volume.get("secret", {}), volume.get("configMap", {})
            name = secret.get("secretName") or config_map["name"]
            text = text.replace(f"{mount['mountPath']}/", f"{self._folder / name}/")
        return text


@pytest.fixture
def open_chart(start_server, database, tmp_path):
    """As it is without settings: everybody is trusted."""
    installed = Installed({}, tmp_path, start_server, database)
    yield installed
    installed.process.kill()


@pytest.fixture
def guarded_chart(start_server, database, tmp_path, certificates, issuer):
    """As the chart's page sets up the gateway, with these files."""
    files = {
        "edge": certificates / "server", "gateway": certificates / "gateway",
        "services": certificates / "pod", "internal-ca": certificates / "ca",
    }  # fmt: skip
    for secret, keys in secrets_of_the_page().items():
        if "database" in secret:
            continue
        (tmp_path / secret).mkdir()
        for key, file in keys.items():
            name, _, suffix = file.partition(".")
            source = issuer.jwks if file == "jwks.json" else files[name].with_suffix(f".{suffix}")
            shutil.copy(source, tmp_path / secret / key)
    ca = certificates / "ca.pem"
    installed = Installed(gateway_values(), tmp_path, start_server, database, ca)
    yield installed
    installed.process.kill()


def check_each_service(stubs, rest):
    site_id = create_site(stubs).id
    assert rest.get(f"/v1/sites/{site_id}").json()["id"] == str(site_id)
    made = rest.post("/v1/configurations", {
        "site_id": str(site_id), "battery_vendor": "Tesla", "battery_capacity_kwh": 13.5,
        "battery_max_power_kw": 5, "production_pv_units": 1, "production_bio_units": 0,
        "production_cro_units": 0,
    })  # fmt: skip
    assert made.status_code == 200, made.text
    stored = create_entry(stubs, site_id)
    assert rest.get(f"/v1/sites/{site_id}/liveData/{stored.id}").json()["site_id"] == str(site_id)
    download = rest.get("/v1/liveData:download", params={"site_ids": site_id, "format": "ndjson"})
    assert download.text.endswith('{"end":{"rows":1}}\n')


def test_each_service_is_reached_over_grpc_and_rest(open_chart):
    stubs = open_chart.stubs()
    check_each_service(stubs, open_chart.rest())
    stubs.close()


def test_probes_tell_what_the_kubelet_takes_them_for(open_chart, database):
    """Without the database a pod gets no calls, but is not killed for that."""

    def asked(probe):
        """The answers of the servers, and of Envoy, whose probes are all of itself."""
        for name, server in [*open_chart.servers.items(), ("envoy", None)]:
            pod = open_chart.pods[f"{NAME}-{CLUSTERS.get(name, name)}"]
            (container,) = pod["spec"]["containers"]
            path = container[probe]["httpGet"]["path"]
            url = (server.admin_url if server else open_chart.url) + path
            yield requests.get(url, timeout=10).status_code

    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert {probe: list(asked(probe)) for probe in probes} == dict.fromkeys(probes, [200] * 4)
    database.close()
    wait_until(lambda: list(asked("readinessProbe")) == [503] * 3 + [200], 30, "they are not ready")
    assert list(asked("livenessProbe")) == list(asked("startupProbe")) == [200] * 4


def test_one_service_away_leaves_the_others(open_chart):
    rest = open_chart.rest()
    open_chart.servers["live_data"].kill()
    wait_until(lambda: open_chart.answers(503), 20, "Envoy sees that one is away")
    assert rest.get("/v1/sites").status_code == 200
    assert rest.get("/v1/liveData").status_code == 503
    # Kubernetes must not take Envoy away for that.
    assert rest.get("/livez").status_code == 200


def test_the_gateway_asks_for_a_token(guarded_chart, issuer):
    stubs = guarded_chart.stubs(issuer.token())
    check_each_service(stubs, guarded_chart.rest(issuer.token()))
    stubs.close()
    anonymous = guarded_chart.stubs()
    assert fail(anonymous.sites.ListSites, LIST).code == "UNAUTHENTICATED"
    anonymous.close()
    check(guarded_chart.rest().get("/v1/sites"), 401, "UNAUTHENTICATED")
    # Probes have none.
    assert guarded_chart.rest().get("/livez").status_code == 200


def test_nobody_comes_past_the_gateway(guarded_chart, certificates):
    """Who speaks as the gateway does, with headers that say who calls, must have its certificate."""

    def read(file):
        return (certificates / file).read_bytes()

    def call(server, name=None):
        pair = (read(f"{name}.key"), read(f"{name}.pem")) if name else ()
        past = Stubs(
            server.address, grpc.ssl_channel_credentials(read("ca.pem"), *pair),
            options=[("grpc.ssl_target_name_override", "energy-sites.internal")],
        )  # fmt: skip
        as_gateway = functools.partial(
            past.sites.ListSites, metadata=[("x-energy-sites-subject", "admin")]
        )
        answer = outcome(as_gateway, LIST)
        past.close()
        return answer

    sites = guarded_chart.servers["sites"]
    assert isinstance(call(sites, "gateway"), sites_pb2.ListSitesResponse)
    assert call(sites).code == "UNAUTHENTICATED"
    assert call(sites, "spy").code == "UNAVAILABLE"
    plain = Stubs(sites.address)
    assert fail(plain.sites.ListSites, LIST).code == "UNAVAILABLE"
    plain.close()
