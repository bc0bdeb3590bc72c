"""What `energy-sites export` leaves behind: a whole file that says so, or the old one."""
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile

import pytest

from energysites.v1 import live_data_pb2

from support.calls import JUNE, create_entries, create_site
from support.server import BINARY

OLD = "the backup of yesterday\n"
ROWS = 20_000
END = f"# end {ROWS} rows\n"


@pytest.fixture
def site(stubs):
    """A site with ROWS entries, some 1.3 MB of CSV."""
    site = create_site(stubs, name="backed up")
    for start in range(0, ROWS, 10_000):
        create_entries(stubs, [live_data_pb2.LiveDataEntry(
            site_id=site.id, dt_stamp={"seconds": JUNE + 60 * (start + i)}, soc=50, load_kwh=0.1,
            net_load_kwh=0, pv_notification=True, bio_notification=False, cro_notification=False)
            for i in range(10_000)])  # fmt: skip
    return site


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def export(service):
    """Runs export; returns the finished process."""

    def export(*arguments, **options):
        return subprocess.run(
            [BINARY, "export", *service.client_flags(), *map(str, arguments)],
            **{"capture_output": True, "text": True, "timeout": 120, **options})

    return export


def limit_files(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def ordinary_user():
    """In the child: an ordinary user, whom permissions bind."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def test_an_export_ends_with_the_number_of_its_rows(export, stubs, site, folder):
    output = folder / "out.csv"
    done = export("--site=backed up", f"--output={output}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = output.read_text().splitlines(keepends=True)
    assert (len(lines), lines[-1]) == (ROWS + 2, END)
    assert export("--site=backed up").stdout == output.read_text()
    assert os.listdir(folder) == ["out.csv"]
    empty = export("--site=backed up", "--end_time=2000-01-01T00:00:00Z")
    assert empty.stdout == lines[0] + "# end 0 rows\n"


def test_import_checks_the_end_of_an_export(export, service, stubs, site, folder):
    output = folder / "out.csv"
    assert export("--site=backed up", f"--output={output}").returncode == 0
    lines = output.read_text().splitlines(keepends=True)
    for content, text in ((lines, None), ([*lines[:5], *lines[6:]], "the file has 19999")):
        output.write_text("".join(content))
        done = subprocess.run([BINARY, "import", *service.client_flags(), f"--live_data={output}"],
                              capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == (text is None), done.stderr
        assert text is None or text in done.stderr and done.stdout == ""


def test_a_failed_export_leaves_the_old_file_and_nothing_else(export, site, folder):
    output = folder / "out.csv"
    output.write_text(OLD)
    done = export("--site=backed up", f"--output={output}", preexec_fn=limit_files(100_000))
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert f"{output}: cannot be written: File too large" in done.stderr
    assert (output.read_text(), os.listdir(folder)) == (OLD, ["out.csv"])
    # Nor does it make one where there was none.
    output.unlink()
    done = export("--site=backed up", f"--output={output}", preexec_fn=limit_files(100_000))
    assert (done.returncode, os.listdir(folder)) == (1, [])


def test_a_full_disk_leaves_the_old_file(export, site, folder):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=True)
    try:
        output = disk / "out.csv"
        output.write_text(OLD)
        done = export("--site=backed up", f"--output={output}")
        assert done.returncode == 1 and "No space left on device" in done.stderr, done.stderr
        assert (output.read_text(), os.listdir(disk)) == (OLD, ["out.csv"])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_wrong_site_leaves_the_old_file(export, site, folder):
    output = folder / "out.csv"
    output.write_text(OLD)
    done = export("--site_id=999999999", f"--output={output}")
    assert done.returncode == 1
    assert (output.read_text(), os.listdir(folder)) == (OLD, ["out.csv"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_stopped_leaves_the_old_file(service, site, folder, number):
    output = folder / "out.csv"
    output.write_text(OLD)
    process = subprocess.Popen([BINARY, "export", *service.client_flags(), "--site=backed up",
                                f"--output={output}"])
    try:
        while process.poll() is None and os.listdir(folder) == ["out.csv"]:
            pass
        process.send_signal(number)
        ended = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    if ended == 0:  # It was done before the signal came.
        assert output.read_text().endswith(END)
    else:
        assert (ended, output.read_text()) == (-number, OLD)
    assert os.listdir(folder) == ["out.csv"]


def test_the_new_file_has_the_mode_that_the_old_one_had(export, site, folder):
    output = folder / "out.csv"
    for mode in (0o600, 0o640, 0o664):
        output.write_text(OLD)
        output.chmod(mode)
        if os.geteuid() == 0:
            os.chown(output, 1234, 4321)
        before = output.stat()
        assert export("--site=backed up", f"--output={output}").returncode == 0
        after = output.stat()
        assert output.read_text().endswith(END)
        assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (
            mode, before.st_uid, before.st_gid)  # fmt: skip
        output.unlink()
    old = os.umask(0o027)
    try:
        assert export("--site=backed up", f"--output={output}").returncode == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_and_its_target_is_replaced(export, site, folder, tmp_path):
    link = tmp_path / "latest.csv"
    other = tmp_path / "other.csv"
    other.symlink_to(folder / "out.csv")
    link.symlink_to("other.csv")
    for old in (OLD, None):  # The second link points to nothing.
        if old is not None:
            (folder / "out.csv").write_text(old)
        assert export("--site=backed up", f"--output={link}").returncode == 0
        assert link.is_symlink() and other.is_symlink()
        assert (folder / "out.csv").read_text().endswith(END)
        assert os.listdir(folder) == ["out.csv"]
        (folder / "out.csv").unlink()
    link.unlink()
    link.symlink_to(link)
    done = export("--site=backed up", f"--output={link}")
    assert done.returncode == 1 and "symbolic links" in done.stderr


def test_what_is_no_regular_file_is_written_as_it_is(export, service, site, folder):
    whole = export("--site=backed up").stdout
    for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        done = export("--site=backed up", f"--output={path}")
        assert (done.returncode, done.stdout) == (0, whole), path
    assert export("--site=backed up", "--output=/dev/null").returncode == 0
    full = export("--site=backed up", "--output=/dev/full")
    assert full.returncode == 1 and "/dev/full: cannot be written: No space" in full.stderr
    # A shell's file is continued, not replaced behind the shell's back.
    target = folder / "all.csv"
    command = [BINARY, "export", *service.client_flags(), "--site=backed up", "--output=/dev/stdout"]
    with open(target, "w") as file:
        file.write(OLD)
        file.flush()
        assert subprocess.run(command, stdout=file, timeout=120).returncode == 0
    assert target.read_text() == OLD + whole
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    copy = folder / "copy"
    with open(copy, "w") as file, subprocess.Popen(["cat", fifo], stdout=file) as reader:
        assert export("--site=backed up", f"--output={fifo}").returncode == 0
        assert reader.wait(timeout=60) == 0
    assert copy.read_text() == whole
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    done = export("--site=backed up", f"--output={folder}")
    assert done.returncode == 1 and f"{folder}: cannot be written: Is a directory" in done.stderr


@pytest.mark.one_server("an ordinary user cannot read the certificates of the test's gateway")
def test_a_place_that_may_not_be_written_is_a_clear_error(export, site, folder):
    if os.geteuid() != 0:
        pytest.skip("the test changes the user")
    # Where an ordinary user reaches it.
    reachable = pathlib.Path(tempfile.mkdtemp(prefix="energy-sites-export-"))
    reachable.chmod(0o755)
    try:
        program = shutil.copy(BINARY, reachable / "energy-sites")
        output = reachable / "out.csv"
        for mode, text in ((0o666, f"cannot create a file in {reachable}: Permission denied"),
                           (0o444, f"{output}: cannot be written: Permission denied")):
            output.write_text(OLD)
            output.chmod(mode)
            done = export("--site=backed up", f"--output={output}", executable=program,
                          preexec_fn=ordinary_user)
            assert done.returncode == 1 and text in done.stderr, done.stderr
            assert output.read_text() == OLD
            assert sorted(os.listdir(reachable)) == ["energy-sites", "out.csv"]
            reachable.chmod(0o777)
    finally:
        shutil.rmtree(reachable)
    done = export("--site=backed up", f"--output={folder}/no/such/out.csv")
    assert done.returncode == 1 and "No such file or directory" in done.stderr


def test_site_is_a_name_and_site_id_an_id(export, stubs):
    other = create_site(stubs, name="another")
    numbered = create_site(stubs, name=str(other.id))
    create_entries(stubs, [live_data_pb2.LiveDataEntry(
        site_id=site, dt_stamp={"seconds": JUNE}, soc=soc, load_kwh=0, net_load_kwh=0,
        pv_notification=True, bio_notification=False, cro_notification=False)
        for site, soc in ((other.id, 1), (numbered.id, 2))])  # fmt: skip
    for flag, row in ((f"--site={other.id}", f"{other.id},2016-06-01T00:00:00Z,2,"),
                      (f"--site_id={numbered.id}", f"{other.id},2016-06-01T00:00:00Z,2,"),
                      (f"--site_id={other.id}", "another,2016-06-01T00:00:00Z,1,")):
        done = export(flag)
        assert done.returncode == 0 and done.stdout.splitlines()[1].startswith(row), flag
    for flags, text in (
            ([], "specify the site with --site=NAME or --site_id=ID"),
            (["--site=another", f"--site_id={other.id}"], "not both"),
            (["--site=nobody"], 'there is no site named "nobody"'),
            ([f"--site={numbered.id}"], f'there is no site named "{numbered.id}"'),
            (["--site_id=999999999"], "no site has the id 999999999"),
            (["--site_id=another"], '--site_id: "another" is not an id'),
            (["--site_id=0"], '--site_id: "0" is not an id')):
        done = export(*flags)
        assert (done.returncode, done.stdout) == (1, "") and text in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    create_site(stubs, name="another")
    done = export("--site=another")
    assert done.returncode == 1 and "--site_id" in done.stderr and "2 sites" in done.stderr
