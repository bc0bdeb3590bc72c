"""The file for Docker Compose, as far as it can be tried without Docker."""

import re
import subprocess

import yaml
from support.envoy import BINARY as ENVOY
from support.process import BUILD, ROOT
from support.server import BINARY

COMPOSE = ROOT / "deploy" / "compose.yaml"


def services():
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def test_commands_are_those_of_the_program():
    for name in ("migrate", "energy-sites"):
        command = [BINARY, *services()[name]["command"], "--print_config"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (name, done.stderr)
    assert services()["migrate"]["command"] == ["migrate"]


def test_all_but_the_database_may_write_nothing():
    confined = {name for name, one in services().items()
                if one.get("read_only") and one.get("cap_drop") == ["ALL"]}  # fmt: skip
    assert confined == set(services()) - {"postgres"}
    opened = [port for one in services().values() for port in one.get("ports", [])]
    assert opened and all(port.startswith("127.0.0.1:") for port in opened)


def test_the_command_shown_makes_a_configuration_for_envoy(tmp_path):
    text = COMPOSE.read_text(encoding="utf-8")
    shown = re.search(r"^#   (deploy/envoy/render .*?\n.*?)>build/compose", text, re.M | re.S)[1]
    command = re.sub(r"^# *", "", shown, flags=re.MULTILINE)
    # What is copied there before.
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "compose").symlink_to(BUILD.resolve())
    command = command.replace("deploy/", f"{ROOT}/deploy/")
    made = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True,
                          check=True).stdout  # fmt: skip
    assert "/etc/envoy/energy_sites.pb" in made
    made = made.replace("/etc/envoy/", f"{BUILD.resolve()}/")
    (listener,) = yaml.safe_load(made)["static_resources"]["listeners"]
    # Another container's 127.0.0.1 cannot be reached by the port that is opened.
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8080}
    path = tmp_path / "envoy.yaml"
    path.write_text(made)
    done = subprocess.run([ENVOY, "--mode", "validate", "--config-path", path],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
