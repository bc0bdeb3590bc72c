"""What `energy-sites import` does with damaged files and with files that spreadsheets saved.

Every byte of a file is accounted for: it is read as a row, or the command fails and says where.
"""
import gzip
import pathlib
import subprocess

import pytest

from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site
from support.server import BINARY

CASES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "cases"
HEADER = (b"site_name,dt_stamp,soc,load_kwh,net_load_kwh,"
          b"pv_notification,bio_notification,cro_notification\n")


def row(hour, name="bt-csv"):
    return f"{name},2024-06-01T{hour:02}:00:00Z,55.5,0.31,0.12,true,false,false\n".encode()


@pytest.fixture
def site_id(stubs):
    return create_site(stubs, name="bt-csv").id


@pytest.fixture
def run(service):
    """Runs import; returns the finished process, its output as text."""

    def run(*arguments, **options):
        done = subprocess.run([BINARY, "import", *service.client_flags(), *map(str, arguments)],
                              capture_output=True, timeout=120, **options)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        return done

    return run


@pytest.fixture
def load(run, tmp_path):
    """Imports live data of these bytes, from a file or through a pipe."""

    def load(content, piped=False):
        if piped:
            return run("--live_data=/dev/stdin", input=content)
        file = tmp_path / "live_data.csv"
        file.write_bytes(content)
        return run(f"--live_data={file}")

    return load


def stored(stubs, site_id):
    request = live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id, page_size=100,
                                                       order_by="dt_stamp")
    return list(stubs.live_data.ListLiveDataEntries(request).live_data_entries)


def test_all_members_of_a_gzip_file_are_read(run, load, stubs, site_id):
    for done in (run(f"--live_data={CASES}/multi.csv.gz"),
                 load((CASES / "multi.csv.gz").read_bytes(), piped=True)):
        assert done.returncode == 0, done.err
        assert "live_data: 4 rows" in done.out
    assert len(stored(stubs, site_id)) == 4
    # A member may end inside a line, be empty, or be followed by the zeros of a tape.
    half = len(HEADER) + 10
    content = HEADER + row(1) + row(2)
    padded = (gzip.compress(content[:half]) + gzip.compress(b"") + gzip.compress(content[half:])
              + bytes(1000))  # fmt: skip
    for piped in (False, True):
        assert "live_data: 2 rows: 0 stored, 2 stored before" in load(padded, piped).out
    assert len(stored(stubs, site_id)) == 4


def test_bytes_behind_a_gzip_member_are_an_error_with_their_offset(load, stubs):
    site_id = create_site(stubs, name="bt-dup").id
    mixed = (CASES / "mixed.csv.gz").read_bytes()
    end = mixed.index(b"bt-dup,")
    done = load(mixed)
    assert done.returncode == 1
    assert f"live_data.csv: byte {end} " in done.err and done.err.count("\n") == 1, done.err
    assert (done.out, stored(stubs, site_id)) == ("", [])
    # What comes through a pipe is stored as it comes.
    done = load(mixed, piped=True)
    assert done.returncode == 1 and f"byte {end} " in done.err, done.err
    assert len(stored(stubs, site_id)) == 2


def test_a_damaged_gzip_file_is_an_error_with_its_offset(load, stubs, site_id):
    first, second = gzip.compress(HEADER + row(1)), gzip.compress(row(2))
    end = len(first)
    whole = first + second
    wrong_sum = bytearray(whole)
    wrong_sum[-5] ^= 1
    wrong_start = bytearray(whole)
    wrong_start[end + 2] = 9  # no compression method that exists
    cases = {
        "a byte behind": (whole + b"x", len(whole)),
        "zeros and then a byte": (whole + bytes(300_000) + b"x", len(whole) + 300_000),
        "zeros and then a member": (first + bytes(5) + second, end + 5),
        "half of a magic number": (whole + b"\x1f", len(whole)),
        "cut in the second member": (whole[:-9], len(whole) - 9),
        "cut in the first member": (first[:-9], end - 9),
        "cut in the second header": (first + second[:5], end + 5),
        "a wrong checksum": (bytes(wrong_sum), None),
        "a header of no gzip": (bytes(wrong_start), None),
    }
    for name, (content, offset) in cases.items():
        done = load(content)
        assert done.returncode == 1, name
        assert "byte " in done.err and done.err.count("\n") == 1, (name, done.err)
        if offset is not None:
            assert f"byte {offset}" in done.err, (name, done.err)
        assert (done.out, stored(stubs, site_id)) == ("", []), name
    for empty in (b"", gzip.compress(b"")):
        done = load(empty)
        assert done.returncode == 1 and "the file is empty" in done.err, done.err


def test_zero_bytes_between_gzip_members_are_named(load, stubs, site_id):
    first, second = gzip.compress(HEADER + row(1)), gzip.compress(row(2))
    for zeros in (1, 5, 300_000):
        end = len(first) + zeros
        done = load(first + bytes(zeros) + second)
        assert done.returncode == 1
        assert f"byte {end}: zero bytes before the gzip member" in done.err, done.err
        assert "is not part of a gzip member" not in done.err and done.err.count("\n") == 1
    assert stored(stubs, site_id) == []


@pytest.mark.one_server("about the command, which calls no service")
def test_a_file_that_cannot_be_read_is_an_error_and_no_crash(tmp_path):
    sites = tmp_path / "sites.csv"
    sites.write_text("name,location\nHome,Kiel\n")
    for flags in ([f"--sites={tmp_path}"],
                  ["--sites=/proc/self/mem"],
                  [f"--sites={sites}", f"--tls_ca={tmp_path}"],
                  [f"--sites={sites}", "--tls_ca=/proc/self/mem"],
                  [f"--sites={sites}", f"--tls_ca={sites}", f"--token_file={tmp_path}"]):
        done = subprocess.run([BINARY, "import", *flags], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, (flags, done.stderr)
        assert "cannot be read" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_last_line_without_an_end_may_have_lost_digits(run, stubs, site_id):
    done = run(f"--live_data={CASES}/cutnum.csv")
    assert done.returncode == 0
    assert f"{CASES}/cutnum.csv:3: warning: " in done.err and '"1"' in done.err, done.err
    assert [entry.load_kwh for entry in stored(stubs, site_id)] == [12.75, 1]
    # Through a pipe, too.
    piped = run("--live_data=/dev/stdin", input=(CASES / "cutnum.csv").read_bytes())
    assert piped.returncode == 0 and "/dev/stdin:3: warning: " in piped.err
    # A cut in a boolean is seen, and a whole one needs no warning.
    done = run(f"--live_data={CASES}/cutline.csv")
    assert done.returncode == 1 and "warning" not in done.err
    assert 'cutline.csv:3: live_data_entry.cro_notification: "fal" is not true or false' in done.err


def test_a_last_line_with_its_end_gives_no_warning(load, site_id):
    for last in (b"1\n", b"1\r\n"):
        content = (CASES / "cutnum.csv").read_bytes() + last
        done = load(content)
        assert (done.returncode, done.err) == (0, "")
    assert load(HEADER + row(1).strip()).err == ""


def test_a_warning_of_a_last_line_follows_from_the_type_of_its_column(run, load, site_id):
    """Regression: `Graz` and `t` counted as a complete timestamp and a part of a boolean."""
    for location in ("Graz", "t", "true", "2024-06-01T08:00:00Z"):
        content = f"name,location\nbt-cut-{location},{location}".encode()
        done = run("--sites=/dev/stdin", input=content)
        assert done.returncode == 0, done.err
        assert "/dev/stdin:2: warning: the last line has no line end" in done.err, done.err
        assert f'its last field is "{location}"' in done.err, done.err
    # A part of a boolean or of a timestamp is an error of its own.
    columns = [name for name in HEADER.decode().strip().split(",") if name != "dt_stamp"]
    header = ",".join([*columns, "dt_stamp"]).encode() + b"\n"
    fields = b"bt-csv,55.5,0.31,0.12,true,false,false,"
    for stamp, returncode in ((b"2024-06-01T09:00:00Z", 0), (b"2024-06-01T09:00:00+02:00", 0),
                              (b"2024-06-01T09:00:00", 1), (b"2024-06-01T09:00:00+02:0", 1)):  # fmt: skip
        done = load(header + fields + stamp)
        assert done.returncode == returncode and "warning: " not in done.err, done.err


def test_a_download_that_a_spreadsheet_saved_comes_in_again(load, stubs, site_id):
    content = (CASES / "excel-end.csv").read_bytes().replace(b",105,", f",{site_id},".encode())
    done = load(content.replace(b"true", b"TRUE").replace(b"\n", b"\r\n"))
    assert (done.returncode, done.err) == (0, ""), done.err
    assert "live_data: 7 rows: 7 stored" in done.out
    assert all(entry.pv_notification for entry in stored(stubs, site_id))
    # As text cells in quotes, too.
    quoted = content.replace(b"# end 7 rows", b'"# end 7 rows"')
    assert quoted != content
    done = load(quoted)
    assert (done.returncode, done.err) == (0, ""), done.err
    assert "live_data: 7 rows: 0 stored, 7 stored before" in done.out
    # The marker still counts.
    done = load(quoted.replace(b"# end 7 rows", b"# end 8 rows"))
    assert done.returncode == 1 and "had 8 rows, the file has 7" in done.err
    done = load(content.replace(b"# end 7 rows", b"# end 8 rows"))
    assert done.returncode == 1 and "had 8 rows, the file has 7" in done.err
    lines = content.splitlines(keepends=True)
    done = load(b"".join(lines[:-1]))
    assert done.returncode == 1 and "download it again" in done.err


def test_rows_of_commas_and_a_padded_last_column_are_accepted(run, load, stubs, site_id):
    done = load(HEADER + b",,,,,,,\n" + row(1) + b",,,,,,,,,\n" + row(2).replace(b"\n", b",,\n")
                + b",,,,,,,\n,,,,,,,\n")  # fmt: skip
    assert (done.returncode, done.err) == (0, "")
    assert "live_data: 2 rows: 2 stored" in done.out
    done = run(f"--live_data={CASES}/trailing.csv")
    assert (done.returncode, done.err) == (0, "")
    assert len(stored(stubs, site_id)) == 3


def test_booleans_may_be_written_in_capitals(run, stubs, site_id):
    done = run(f"--live_data={CASES}/bools.csv")
    assert done.returncode == 1
    assert [line.split("csv:", 1)[1] for line in done.err.splitlines()] == [
        f'{line}: live_data_entry.pv_notification: "{text}" is not true or false'
        for line, text in ((4, "1"), (5, "yes"), (6, "on"), (7, "t"))]
    assert [entry.pv_notification for entry in stored(stubs, site_id)] == [True, True]
    assert "6 rows: 2 stored" in done.out


def test_a_file_that_is_not_utf8_is_one_clear_line(run, load, stubs, site_id):
    cases = {
        (f"--sites={CASES}/cp1252.csv",): "cp1252.csv:2: byte 0xFC ",
        (f"--live_data={CASES}/cp1252-live.csv",): "cp1252-live.csv:2: byte 0xFC ",
        (f"--live_data={CASES}/utf16.csv",): "utf16.csv: the file is UTF-16",
    }
    for flags, text in cases.items():
        done = run(*flags)
        assert done.returncode == 1 and done.out == ""
        assert text in done.err and "UTF-8" in done.err and done.err.count("\n") == 1, done.err
        assert done.err.isascii() and done.err.replace("\n", "").isprintable()
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        done = load((HEADER + row(1)).decode().encode(encoding))
        assert done.returncode == 1 and "the file is UTF-16" in done.err, done.err
    # However many lines are so, and wherever: nothing is stored.
    done = load(HEADER + row(1) + row(2, "Mühle").decode().encode("cp1252") * 100)
    assert done.returncode == 1 and done.err.count("\n") == 1
    assert ":3: byte 0xFC " in done.err
    assert stored(stubs, site_id) == []
    assert load(b"\xef\xbb\xbf" + HEADER + row(1)).returncode == 0


def test_an_error_shows_no_bytes_that_a_terminal_would_obey(load, site_id):
    for name in ("\x1b[2J", "\u009b2J", "x" * 79 + "ü"):
        done = load(HEADER + row(1, name))
        assert done.returncode == 1 and "there is no site named" in done.err
        assert done.err.replace("\n", "").isprintable(), done.err.encode()


def test_other_separators_are_one_clear_line(run, load, site_id):
    done = run(f"--live_data={CASES}/semicolon.csv")
    assert done.returncode == 1
    assert "semicolon.csv:1: the columns are separated by semicolons" in done.err
    assert "must be a comma" in done.err and done.err.count("\n") == 1
    done = load(HEADER.replace(b",", b"\t"))
    assert "separated by tabs" in done.err and done.err.count("\n") == 1
    done = load((HEADER + row(1)).replace(b"\n", b"\r"))
    assert done.returncode == 1 and done.err.count("\n") == 1, done.err
    assert "live_data.csv:1: the lines end with CR alone" in done.err and "CSV UTF-8" in done.err
    done = run(f"--live_data={CASES}/deccomma.csv")
    assert done.returncode == 1 and done.err.count("\n") == 1
    assert "deccomma.csv:2: must have 8 columns, has 11" in done.err
    assert "decimal point" in done.err


def test_other_letters_in_the_header_are_one_clear_line(run, site_id):
    for file, text in (("case.csv", 'column "Site_Name" must be written site_name'),
                       ("spaces.csv", 'column " dt_stamp" must be written dt_stamp')):
        done = run(f"--live_data={CASES}/{file}")
        assert done.returncode == 1 and text in done.err and done.err.count("\n") == 1, done.err


def test_site_and_site_id_say_which_site_the_rows_must_be_of(run, stubs):
    other = create_site(stubs, name="another").id
    numbered = create_site(stubs, name=str(other)).id
    content = (CASES / "numname.csv").read_bytes().replace(b"\n108,", f"\n{other},".encode())

    def load(*flags):
        return run("--live_data=/dev/stdin", *flags, input=content)

    for flag in (f"--site_id={other}", "--site=another"):
        done = load(flag)
        assert done.returncode == 1 and "live_data: 1 rows: 0 stored" in done.out
        assert f"the row belongs to site {numbered};" in done.err, done.err
    for flag in (f"--site_id={numbered}", f"--site={other}"):
        done = load(flag)
        assert (done.returncode, done.err) == (0, "")
    assert (len(stored(stubs, numbered)), len(stored(stubs, other))) == (1, 0)
    for flags, text in ((["--site=another", f"--site_id={other}"], "not both"),
                        (["--site=nobody"], 'there is no site named "nobody"'),
                        (["--site_id=999999999"], "--site_id: no site has the id 999999999"),
                        (["--site_id=another"], '--site_id: "another" is not an id')):
        done = load(*flags)
        assert done.returncode == 1 and text in done.err, done.err
        assert done.err.count("\n") == 1, done.err
    # A site that the same run makes counts as well.
    done = run("--sites=/dev/stdin", "--site=new", input=b"name,location\nnew,Kiel\n")
    assert (done.returncode, done.err) == (0, "")
    assert "new" in {site.name for site in stubs.sites.ListSites(
        sites_pb2.ListSitesRequest(page_size=100)).sites}
