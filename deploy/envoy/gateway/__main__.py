"""deploy/envoy/render: settings in, Envoy's configuration out."""

import argparse
import pathlib
import sys

import yaml
from google.protobuf.message import DecodeError

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "proto"))

import bootstrap  # noqa: E402
from contract import Contract  # noqa: E402  (it stands beside the .proto files)
from settings import SettingsError, parse  # noqa: E402


class Dumper(yaml.SafeDumper):
    """Writes what is used twice twice, for people read the result."""

    def ignore_aliases(self, data):
        return True

    def represent_str(self, data):
        """A program stands there line by line."""
        style = "|" if "\n" in data[:-1] else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


Dumper.add_representer(str, Dumper.represent_str)


def main(arguments):
    usage = argparse.ArgumentParser(prog="deploy/envoy/render", allow_abbrev=False)
    usage.add_argument("settings", metavar="SETTINGS", help="a file, or - for standard input")
    usage.add_argument(
        "--descriptor_set", metavar="FILE",
        help="energy_sites.pb, where it is not yet at the place that the settings give to Envoy",
    )  # fmt: skip
    given = usage.parse_args(arguments)
    try:
        source = sys.stdin if given.settings == "-" else open(given.settings, encoding="utf-8")
        with source:
            settings = parse(yaml.safe_load(source))
        descriptor_set = given.descriptor_set or settings.descriptor_set
        contract = Contract(pathlib.Path(descriptor_set).read_bytes())
        config = bootstrap.config(settings, contract)
    except (OSError, DecodeError, SettingsError, yaml.YAMLError) as error:
        return f"render: {error}"
    print("# Made by deploy/envoy/render, where the comments are. Change the settings, not this.")
    yaml.dump(config, sys.stdout, Dumper, sort_keys=False, width=1000)
    return 0


sys.exit(main(sys.argv[1:]))
