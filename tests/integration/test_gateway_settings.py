"""One source makes every configuration of Envoy, and Envoy takes each of them."""

import shutil
import subprocess
import sys

import pytest
import yaml

from support.envoy import BINARY, local_settings, render
from support.gateway import production_settings
from support.process import BUILD, ROOT

sys.path[:0] = [str(ROOT / "proto"), str(ROOT / "deploy/envoy/gateway")]
import access  # noqa: E402
from contract import Contract  # noqa: E402

pytestmark = pytest.mark.one_server("about configurations, which nothing runs with")

EXAMPLE = ROOT / "deploy/envoy/production.example.yaml"

# Changes of the production settings. Together they have every part that may be left out.
VARIANTS = {
    "as it is": {},
    "all there is": {
        "cors_origins": ["https://console.example"],
        "rate_limits": {"service": "127.0.0.1:8081"},
        "tracing": {"collector": "127.0.0.1:4317"},
        "metrics_listen": "127.0.0.1:9901",
    },
    "keys by URL": {
        "jwt": {"issuer": "i", "audience": "a", "jwks_url": "https://tokens.example/jwks.json"},
    },
    "keys by plain URL": {
        "jwt": {"issuer": "i", "audience": "a", "jwks_url": "http://127.0.0.1:8000/jwks.json"},
    },
    "without TLS": {"tls": None},
    "services by name": {
        "upstream": {name: ["localhost:50051"] for name in ("sites", "configurations", "live_data")}
    },
}


def validate(text, folder):
    """Fails where Envoy refuses it, or warns of something."""
    config = folder / "envoy.yaml"
    config.write_text(text)
    done = subprocess.run(
        [BINARY, "--mode", "validate", "--config-path", config],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr


def test_local(tmp_path):
    validate(render(local_settings(8080, 50051)), tmp_path)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_production(tmp_path, certificates, issuer, changes):
    settings = production_settings(8443, [50051, 50052], certificates, issuer, **changes)
    validate(render(settings), tmp_path)


def test_the_example(tmp_path, certificates, issuer):
    text = EXAMPLE.read_text().replace("/etc/energy-sites", str(tmp_path))
    for file in (*certificates.iterdir(), issuer.jwks, BUILD / "energy_sites.pb"):
        shutil.copy(file, tmp_path)
    validate(render(yaml.safe_load(text)), tmp_path)


def test_a_contract_that_envoy_will_find_elsewhere():
    settings = local_settings(8080, 50051)
    elsewhere = {**settings, "descriptor_set": "/nowhere/x.pb"}
    made = render(elsewhere, "--descriptor_set", settings["descriptor_set"])
    assert made == render(settings).replace(settings["descriptor_set"], "/nowhere/x.pb")


def test_the_two_differ_only_by_their_settings(certificates, issuer):
    """What the local one has, the production one has too: no filter, route or limit is missing."""
    local = yaml.safe_load(render(local_settings(8080, 50051)))
    origins = ["https://console.example"]
    settings = production_settings(8080, [50051], certificates, issuer, cors_origins=origins)
    production = yaml.safe_load(render(settings))

    def parts(config):
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        return manager, [one["name"] for one in manager["http_filters"]]

    (local_manager, local_filters), (manager, filters) = parts(local), parts(production)
    assert [name for name in filters if name in local_filters] == local_filters
    # The local one allows pages of localhost, the other those of its settings.
    allowed = [one["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]
               ["envoy.filters.http.cors"].pop("allow_origin_string_match")
               for one in (local_manager, manager)]  # fmt: skip
    assert "localhost" in str(allowed[0]) and allowed[1] == [{"exact": origins[0]}]
    assert local_manager["route_config"] == manager["route_config"]
    assert [one for one in local_manager["local_reply_config"]["mappers"]
            if one not in manager["local_reply_config"]["mappers"]] == []  # fmt: skip
    assert local["overload_manager"] == production["overload_manager"]


# Changes of the local settings (... for none of it), and what is said about them.
WRONG = {
    "unknown": ({"colour": "red"}, "unknown settings: colour"),
    "unknown, deep": ({"tls": {"cert": "x"}}, "unknown settings: tls.cert"),
    "tls not said": ({"tls": ...}, "missing settings: tls"),
    "jwt not said": ({"jwt": ...}, "missing settings: jwt"),
    "a part is missing": ({"jwt": {"issuer": "i"}}, "missing settings: jwt.audience"),
    "another type": ({"heap_limit_mib": "1 GB"}, "heap_limit_mib: must be of type int, not '1 GB'"),
    "true for a number": ({"heap_limit_mib": True}, "must be of type int"),
    "no memory": ({"heap_limit_mib": -1}, "heap_limit_mib: must be at least 64, not -1"),
    "a duration in words": (
        {"call_timeout": "30 seconds"}, "call_timeout: must be seconds, such as 30s or 0.5s, not",
    ),
    "another unit": ({"call_timeout": "1m"}, "call_timeout: must be seconds"),
    "no time": ({"stream_idle_timeout": "0s"}, "stream_idle_timeout: must be seconds"),
    "no calls": (
        {"rate_limits": {"subject_per_second": 0}},
        "rate_limits.subject_per_second: must be at least 1, not 0",
    ),
    "more than all": (
        {"tracing": {"collector": "a:1", "sampled_percent": 101}}, "must be from 0 to 100, not 101",
    ),
    # Regression: tokens of every issuer, and for every audience, counted.
    "an empty issuer": (
        {"jwt": {"issuer": "", "audience": "a", "jwks_file": "f"}}, "jwt.issuer: must not be empty",
    ),
    "an empty audience": (
        {"jwt": {"issuer": "i", "audience": "", "jwks_file": "f"}},
        "jwt.audience: must not be empty",
    ),
    "no list": ({"cors_origins": "https://x"}, "cors_origins: must be a list"),
    "no address": ({"listen": "8080"}, "8080: must be host:port"),
    "no instance": (
        {"upstream": {"sites": [], "configurations": ["a:1"], "live_data": ["a:1"]}},
        "upstream.sites: must name at least one address",
    ),
    "no keys": (
        {"jwt": {"issuer": "i", "audience": "a"}}, "exactly one of jwks_file and jwks_url",
    ),
    "keys of two places": (
        {"jwt": {"issuer": "i", "audience": "a", "jwks_file": "f", "jwks_url": "http://x"}},
        "exactly one of jwks_file and jwks_url",
    ),
    "keys by another protocol": (
        {"jwt": {"issuer": "i", "audience": "a", "jwks_url": "ftp://x"}}, "an http or https URL",
    ),
    "no descriptor set": ({"descriptor_set": __file__}, "Error parsing message"),
    "no such file": ({"descriptor_set": "/nowhere/x.pb"}, "/nowhere/x.pb"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_wrong_settings(changes, said):
    settings = local_settings(8080, 50051, **changes)
    kept = {name: value for name, value in settings.items() if value is not ...}
    with pytest.raises(subprocess.CalledProcessError) as error:
        render(kept)
    assert error.value.stderr.startswith("render: ") and said in error.value.stderr
    assert error.value.stdout == ""


def test_an_rpc_without_a_scope_is_noticed(monkeypatch):
    contract = Contract((BUILD / "energy_sites.pb").read_bytes())
    access.check_complete(contract)
    monkeypatch.setitem(access.SCOPES, "sites.read", access.SCOPES["sites.read"][1:])
    with pytest.raises(ValueError, match="Sites/GetSite"):
        access.check_complete(contract)
