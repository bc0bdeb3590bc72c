"""Certificates for a test, made with openssl."""

import subprocess


def make_certificates(folder):
    """Creates a CA and certificates: `server` for 127.0.0.1, `postgres` for localhost, `pod`, and
    those of clients.

    `spy` has a certificate of another CA. Returns a function that reads a file by its name.
    """

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-days", "2"]  # fmt: skip
    for authority in ("ca", "stranger"):
        openssl(*new, "-keyout", f"{authority}.key", "-out", f"{authority}.pem",
                "-subj", f"/CN={authority}")  # fmt: skip
    for name, authority, subject in (
        ("server", "ca", "IP:127.0.0.1"),
        ("postgres", "ca", "DNS:localhost"),
        ("pod", "ca", "DNS:energy-sites.internal"),
        ("client", "ca", "IP:127.0.0.1"),
        ("spy", "stranger", "IP:127.0.0.1"),
        ("meter", "ca", "DNS:meter.example"),
        ("renewed", "ca", "DNS:meter.example"),
        ("gateway", "ca", "DNS:gateway.example"),
        ("nameless", "ca", None),
    ):
        openssl(*new, "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                *(["-addext", f"subjectAltName={subject}"] if subject else []))  # fmt: skip
    return lambda name: (folder / name).read_bytes()
