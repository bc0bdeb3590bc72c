"""The image: what is in it, and that it runs as a container would run it."""

import os
import re
import shutil
import subprocess

import pytest
from energysites.v1 import sites_pb2
from support.calls import create_site, site
from support.image import Image, ImageServer, program, run, tree
from support.process import ROOT, wait_until
from support.stubs import Stubs

MOST_BYTES = 80_000_000
USER = 65532


def commit_time():
    return run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()


@pytest.fixture(scope="session")
def image():
    return Image(ROOT, commit_time())


@pytest.fixture(scope="session")
def root(image):
    with image.mounted() as path:
        yield path


@pytest.fixture
def sockets(postgres):
    """The folder of the database's socket, made passable for another user."""
    os.chmod(postgres.dir, 0o711)
    return postgres.dir


def seen_inside(url, sockets):
    return url.replace(re.search("host=([^&]*)", url)[1], "%2Frun")


def test_it_is_small(image, tmp_path):
    assert 1_000_000 < image.compressed_bytes(tmp_path / "oci") < MOST_BYTES


def test_nothing_else_is_in_it(root):
    files = tree(root)
    assert "/usr/bin/energy-sites" in files
    assert "/etc/ssl/certs/ca-certificates.crt" in files
    assert "/usr/share/zoneinfo/Europe/Prague" in files
    in_bin = [path for path in files if re.search(r"/s?bin/", path)]
    assert in_bin == ["/usr/bin/energy-sites"], "no shell, no package manager"
    programs = [path for path, about in files.items() if about[0].startswith("-") and "x" in about[0]]
    assert [path for path in programs if not re.search(r"\.so(\.|$)", path)] == in_bin
    assert [path for path, about in files.items() if "s" in about[0][1:].lower()] == [], "setuid"
    assert {about[1:3] for about in files.values()} == {(0, 0)}
    # Links have no rights of their own.
    assert [path for path, about in files.items() if about[0][8] == "w" and about[0][0] != "l"] == []


def test_it_has_its_licenses_and_versions(root):
    for package in ("libgrpc++1.51", "libpq5", "libc6", "tzdata", "ca-certificates"):
        assert (root / "usr/share/doc" / package / "copyright").stat().st_size > 0
        status = (root / "var/lib/dpkg/status.d" / package).read_text()
        assert f"Package: {package}\n" in status and "\nVersion: " in status


def test_it_says_how_it_is_run(image, root):
    assert image.config["Entrypoint"] == ["/usr/bin/energy-sites"]
    assert image.config["Cmd"] == ["serve"]
    assert set(image.config["ExposedPorts"]) == {"50051", "9464"} or set(
        image.config["ExposedPorts"]) == {"50051/tcp", "9464/tcp"}  # fmt: skip
    assert image.config["User"] == f"{USER}:{USER}"
    assert f":{USER}:{USER}:" in (root / "etc/passwd").read_text()


def test_it_migrates_serves_and_drains(image, root, postgres, sockets, tmp_path):
    database = postgres.empty_database()
    database.app_url = seen_inside(database.app_url, sockets)
    urls = {"DATABASE_URL": database.app_url,
            "MIGRATE_DATABASE_URL": seen_inside(database.owner_url, sockets)}  # fmt: skip
    command = program(image, root, sockets, tmp_path)
    migrated = subprocess.run([command, "migrate"], env={**os.environ, **urls},
                              capture_output=True, text=True, check=False)  # fmt: skip
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr

    server = ImageServer(image, root, sockets, database, tmp_path)
    try:
        stubs = Stubs(server.address)
        one = create_site(stubs)
        assert_confined(server.process.pid)

        # A call under way when the server is asked to end, for it waits for a row.
        with database.connect() as holder:
            holder.execute("BEGIN")
            holder.execute("SELECT FROM sites WHERE id = %s FOR UPDATE", [one.id])
            request = sites_pb2.UpdateSiteRequest(site=site(id=one.id, name="Late"))
            call = stubs.sites.UpdateSite.future(request, timeout=60)
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: database.query(waiting), 20, "the call waits for the lock")
            server.process.signal(15)
            wait_until(lambda: not server.admin_answers("readyz"), 10, "it drains")
            holder.execute("COMMIT")
        assert call.result(timeout=30).name == "Late"
        stubs.close()
        assert server.process.wait(30) == 0, server.process.tail()
    finally:
        server.kill()
        postgres.drop(database)


def assert_confined(pid):
    """The process has no rights, and nothing that it may write to."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["Uid"].split() == [str(USER)] * 4
    assert status["Gid"].split() == [str(USER)] * 4
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        options = {words[4]: words[5].split(",") for words in map(str.split, file)}
    assert "ro" in options["/"]
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        assert "libjemalloc" in file.read()


def test_the_same_sources_give_the_same_files(root, tmp_path):
    """Compiled again, elsewhere; a file that is no source is beside them, so that nothing is taken
    from the layers of the first build."""
    for name in run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
                    "--exclude-standard").split("\0"):  # fmt: skip
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "proto" / "stray.txt").write_text(os.urandom(16).hex())
    first = tree(root)
    with Image(tmp_path, commit_time(), tag="energy-sites-again").mounted() as again:
        second = tree(again)
    assert {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)} == set()
    assert {about[3] for about in first.values()} == {int(commit_time())}
