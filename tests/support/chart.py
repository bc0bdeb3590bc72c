"""Packages the Helm chart, renders it with values, and reads the result."""

import os
import re
import shlex
import subprocess

import yaml

from support.envoy import render
from support.process import BUILD, ROOT

HELM = ROOT / ".deps" / "bin" / "helm"
KUBERNETES = "1.37.0"


PAGE = ROOT / "deploy/chart/README.md"


def gateway_values(**changes):
    """The values in the README of the chart, with its gateway settings updated by `changes`."""
    (shown,) = re.findall(r"```yaml\n( *gateway:\n.*?)```", PAGE.read_text(), re.DOTALL)
    values = yaml.safe_load(shown)
    settings = yaml.safe_load((ROOT / "deploy/chart/gateway.example.yaml").read_text())
    values["gateway"]["configuration"] = render(
        {**settings, **changes}, "--descriptor_set", BUILD / "energy_sites.pb"
    )
    return values


def secrets_of_the_page():
    """The Secrets that the README of the chart creates with kubectl: Secret -> key -> file."""
    made = {}
    page = PAGE.read_text().replace("\\\n", "")
    for line in re.findall(r"^ *kubectl create secret (.*)", page, re.MULTILINE):
        kind, name, *options = shlex.split(line)
        keys = {"generic": {}, "tls": {"--cert": "tls.crt", "--key": "tls.key"}}[kind]
        made[name] = {}
        for option, _, value in (one.partition("=") for one in options):
            key = keys[option] if option in keys else value.partition("=")[0]
            made[name][key] = value.rpartition("=")[2]
    return made


class Chart:
    """The chart, packaged into `folder` with the generated files."""

    def __init__(self, folder):
        self.path = folder / "energy-sites"
        # Its own home folder, without the user's Helm configuration.
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self._run([ROOT / "deploy/package_chart", BUILD, folder], check=True)

    def _run(self, command, text=None, check=False):
        return subprocess.run(
            [str(word) for word in command], input=text, env=self._environment, cwd=ROOT,
            capture_output=True, text=True, check=check,
        )  # fmt: skip

    def lint(self):
        return self._run([HELM, "lint", "--strict", self.path])

    def template(self, values, release="meadow"):
        """`helm template`, its output or its errors."""
        command = [HELM, "template", release, self.path, "--kube-version", KUBERNETES]
        return self._run([*command, "--values", "-"], yaml.safe_dump(values))

    def notes(self, values):
        """The notes that `helm install` prints at its end, which `helm template` does not print."""
        shown = self.path / "templates" / "shown.yaml"
        shown.write_text('notes: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}')
        try:
            done = self.template(values)
        finally:
            shown.unlink()
        assert done.returncode == 0, done.stderr
        (notes,) = [one for one in yaml.safe_load_all(done.stdout) if one and "notes" in one]
        return notes["notes"]

    def objects(self, values):
        done = self.template(values)
        assert done.returncode == 0, done.stderr
        return Objects([one for one in yaml.safe_load_all(done.stdout) if one])


class Objects(list):
    """Kubernetes objects, found by kind and name."""

    def of(self, kind):
        """name -> object."""
        return {one["metadata"]["name"]: one for one in self if one["kind"] == kind}

    def pods(self):
        """Name of the owner -> pod template, of all objects that create pods."""
        found = {}
        for one in self:
            spec = one.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            if "containers" in spec.get("template", {}).get("spec", {}):
                found[one["metadata"]["name"]] = spec["template"]
        return found

    def selected(self, selector):
        """The names of the owners whose pods match the label selector `selector`."""
        return {name for name, pod in self.pods().items()
                if _fits(selector, pod["metadata"]["labels"])}  # fmt: skip


def _fits(selector, labels):
    assert set(selector) <= {"matchLabels", "matchExpressions"}, selector
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True
