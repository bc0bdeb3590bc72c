"""The Python client of the contract, generated when the tests start and not stored."""

import atexit
import importlib.resources
import shutil
import sys
import tempfile

import grpc
from grpc_tools import protoc

from support.process import ROOT

# The option for a channel with its own connection; other channels to an address share one.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
NAMES = ("sites", "configurations", "live_data")


def generate():
    """Makes `energysites.v1.sites_pb2` and the others importable.

    Also the messages of buf.validate; those of google.api are in their PyPI package.
    """
    folder = tempfile.mkdtemp(prefix="es-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc", f"-I{ROOT / 'proto'}", f"-I{ROOT / '.deps' / 'proto'}", f"-I{well_known}",
        f"--python_out={folder}", f"--grpc_python_out={folder}",
        *(f"energysites/v1/{name}.proto" for name in NAMES),
        "buf/validate/validate.proto",
    ]  # fmt: skip
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed: " + " ".join(arguments))
    sys.path.insert(0, folder)


class Stubs:
    """The three services at `address`: `stubs.sites.GetSite(request)`, and so on.

    `options` are the options of the channel.
    """

    def __init__(self, address, credentials=None, *interceptors, options=()):
        channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self.channel = grpc.intercept_channel(channel, *interceptors)
        for name in NAMES:
            module = importlib.import_module(f"energysites.v1.{name}_pb2_grpc")
            service = "".join(word.capitalize() for word in name.split("_"))
            setattr(self, name, getattr(module, f"{service}Stub")(self.channel))

    def close(self):
        self.channel.close()
