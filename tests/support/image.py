"""Builds the image without a Docker engine and runs it like a container."""

import contextlib
import hashlib
import json
import os
import pathlib
import shlex
import stat
import subprocess

from support.process import ROOT
from support.server import Server

STATE = ROOT / "build" / "image"
BASE = "debian:bookworm-slim"
TAG = "energy-sites"
# Settings of this machine for package registries; other machines may need other settings.
MACHINE_SETTINGS = ("/usr/local/share/ca-certificates", "/etc/pip.conf", "/root/.m2/settings.xml",
                    "/etc/maven/settings.xml")  # fmt: skip
IN_IMAGE = pathlib.Path(__file__).parent / "in_image"


def run(*command, **arguments):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, **arguments)  # fmt: skip
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-5000:]
        raise RuntimeError(f"{shlex.join(map(str, command))} ended with {done.returncode}:\n{output}")
    return done.stdout


def buildah(*arguments):
    # A separate image store, which is kept, so that layers are built only once.
    return run("buildah", "--root", STATE / "storage", "--runroot", STATE / "run", *arguments)


def make_base():
    """The base image, built from Debian packages instead of pulled from a registry."""
    STATE.mkdir(parents=True, exist_ok=True)
    names = buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    if any(name.endswith(f"/{BASE}") for name in names):  # Without the name of the registry.
        return
    archive = STATE / "base.tar"
    run("mmdebstrap", "--variant=minbase", "bookworm", archive)
    container = buildah("from", "scratch").strip()
    buildah("add", container, archive, "/")
    buildah("commit", "--rm", container, BASE)
    archive.unlink()


class Image:
    """The image of the sources in `context`."""

    def __init__(self, context, unix_time, tag=TAG):
        make_base()
        volumes = [f"--volume={path}:{path}:ro" for path in MACHINE_SETTINGS if os.path.exists(path)]
        buildah("build", "--isolation=chroot", "--layers", f"--tag={tag}", *volumes,
                f"--build-arg=SOURCE_DATE_EPOCH={unix_time}",
                f"--file={context}/deploy/Dockerfile", context)  # fmt: skip
        self._tag = tag
        self.config = json.loads(buildah("inspect", "--type=image", tag))["OCIv1"]["config"]

    def compressed_bytes(self, folder):
        """The image as a registry would store it."""
        buildah("push", self._tag, f"oci:{folder}:{self._tag}")
        return sum(file.stat().st_size for file in (folder / "blobs").rglob("*") if file.is_file())

    @contextlib.contextmanager
    def mounted(self):
        """The path of its mounted root file system, until the context ends."""
        container = buildah("from", self._tag).strip()
        try:
            yield pathlib.Path(buildah("mount", container).strip())
        finally:
            buildah("rm", container)


def tree(root):
    """Path -> all attributes, of every file in `root`."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content = ""
        if stat.S_ISLNK(about.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(about.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[f"/{path.relative_to(root)}"] = (
            stat.filemode(about.st_mode), about.st_uid, about.st_gid, int(about.st_mtime), content,
        )  # fmt: skip
    return found


class ImageServer(Server):
    """`serve` in the image, with the folder `sockets` as its /run."""

    def __init__(self, image, root, sockets, database, folder, **arguments):
        self.binary = program(image, root, sockets, folder)
        super().__init__(database, folder, **arguments)


def program(image, root, sockets, folder):
    """A script that runs the image with its arguments."""
    script = folder / "energy-sites-in-image"
    words = [IN_IMAGE, root, image.config["User"], sockets, *image.config["Env"], "--",
             *image.config["Entrypoint"]]  # fmt: skip
    script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    script.chmod(0o700)
    return script
