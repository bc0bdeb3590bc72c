"""Runs the Bruno collection by its own runner against a fresh service behind Envoy."""

import json
import re
import subprocess
import sys

from support.process import BUILD, ROOT

sys.path.insert(0, str(ROOT / "proto"))
from contract import Contract  # noqa: E402  (it stands beside the .proto files)

COLLECTION = ROOT / "tests" / "bruno" / "collection"
NODE = ROOT / ".deps" / "bin" / "node"
RUNNER = ROOT / ".deps" / "node" / "node_modules" / "@usebruno" / "cli" / "bin" / "bru.js"


def run_collection(folder, base_url, *flags):
    """The exit code, what was printed, and the report: its summary and its results."""
    report = folder / "report.json"
    done = subprocess.run(
        [NODE, RUNNER, "run", "-r", "--noproxy", "--env", "local",
         "--env-var", f"baseUrl={base_url}", "--reporter-json", report, *flags],
        cwd=COLLECTION, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    (only,) = json.loads(report.read_text())
    return done.returncode, done.stdout, only["summary"], only["results"]


def path_pattern(path):
    """A regular expression for the URLs of a binding."""
    return re.compile(r"https?://[^/]+" + re.sub(r"\\\{[^}]*\\\}", "[^/?]+", re.escape(path)) + r"(\?.*)?")


def untried(results, contract):
    """The bindings that no request of `results` uses well, and those that none uses badly."""
    calls = [(r["request"]["method"].lower(), r["request"]["url"], r["response"]["status"])
             for r in results]  # fmt: skip
    found = []
    for _, method in contract.methods():
        for binding in contract.bindings(method):
            pattern = path_pattern(binding.path)
            codes = [code for verb, url, code in calls
                     if verb == binding.verb and pattern.fullmatch(url)]  # fmt: skip
            found += [(binding.verb, binding.path, "good")] * all(code >= 400 for code in codes)
            found += [(binding.verb, binding.path, "bad")] * all(code < 400 for code in codes)
    return found


def test_every_call_good_and_bad(envoy, tmp_path):
    code, output, summary, results = run_collection(tmp_path, envoy.url)
    assert code == 0, output
    files = [f for f in COLLECTION.rglob("*.bru") if re.match(r"\d\d-", f.name)]
    assert files and summary["totalRequests"] == summary["passedRequests"] == len(files)
    # At least the status is asserted of each request, and the shape of its body tested.
    assert all(result["assertionResults"] and result["testResults"] for result in results)
    for kind in ("Assertions", "Tests"):
        assert summary[f"total{kind}"] == summary[f"passed{kind}"] > 0, output
    contract = Contract((BUILD / "energy_sites.pb").read_bytes())
    assert untried(results, contract) == []


def test_a_wrong_answer_is_noticed(start_envoy, start_server, database, tmp_path):
    """Where only the sites are served, the run fails at the first configuration."""
    server = start_server(database, flags=("--services=sites",))
    # Not ready: nobody serves the configurations.
    envoy = start_envoy(server.port, ready=False)
    code, output, summary, results = run_collection(tmp_path, envoy.url, "--bail")
    assert code != 0
    (failed,) = [result for result in results
                 if any(one["status"] == "fail" for one in result["assertionResults"])]  # fmt: skip
    assert failed["test"]["filename"].startswith("2-configurations/"), output
    assert summary["failedAssertions"] > 0 and summary["passedRequests"] > 0
