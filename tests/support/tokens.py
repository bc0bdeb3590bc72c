"""An issuer of tokens: its keys, valid tokens, and invalid tokens of attackers."""

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://tokens.example"
AUDIENCE = "energy-sites"
SCOPES = ("sites.read", "sites.write", "livedata.read", "livedata.write")
HOUR = 3600


class Issuer:
    """`jwks` is the file with its public key."""

    def __init__(self, folder):
        self.jwks = folder / "jwks.json"
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        known = {"kid": "1", "use": "sig", "alg": "ES256", **public}
        self.jwks.write_text(json.dumps({"keys": [known]}))

    def token(self, scopes=SCOPES, key=None, algorithm="ES256", kid="1", **claims):
        """A valid token with changed claims; a claim with the value ... is omitted."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "meter-7", "iat": now, "exp": now + HOUR,
            "scope": " ".join(scopes), **claims,
        }  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not ...}
        # PyJWT rejects a `sub` that is not a string, which some tests need.
        if algorithm == "none":
            return f"{part({'alg': 'none', 'kid': kid})}.{part(kept)}."
        return jwt.encode(kept, key or self._key, algorithm, headers={"kid": kid})

    def bad_tokens(self):
        """The attacks by name."""
        now = int(time.time())
        good = self.token()
        header, payload, signature = good.split(".")
        more = part({**jwt.decode(good, options={"verify_signature": False}), "sub": "admin"})
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        other_key = ec.generate_private_key(ec.SECP256R1())
        return {
            "no token": "",
            "no token at all": "x",
            "alg none": self.token(algorithm="none"),
            "alg none with a signature": f"{part({'alg': 'none'})}.{payload}.{signature}",
            "HS256 with the public key as secret": self._confused(payload),
            "RS256 of another key": self.token(key=rsa_key, algorithm="RS256"),
            "another key under the known name": self.token(key=other_key),
            "another key under its own name": self.token(key=other_key, kid="2"),
            "a changed payload": f"{header}.{more}.{signature}",
            "no signature": f"{header}.{payload}.",
            "expired": self.token(exp=now - HOUR),
            "without expiry": self.token(exp=...),
            "not yet valid": self.token(nbf=now + HOUR),
            "for another audience": self.token(aud="other"),
            "for no audience": self.token(aud=...),
            "of another issuer": self.token(iss="https://other.example"),
            "of no issuer": self.token(iss=...),
            "without subject": self.token(sub=...),
            "with an empty subject": self.token(sub=""),
            "with a line break in its subject": self.token(sub="meter\nx-admin: 1"),
            "16 KB of nothing": "x" * 16384,
            "16 KB with a wrong signature": self.token(key=other_key, padding="x" * 12000),
        }

    def _confused(self, payload):
        """Signed with the public key as if it were a shared secret."""
        public_key = self._key.public_key()
        public = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signed = f"{part({'alg': 'HS256', 'kid': '1'})}.{payload}"
        return f"{signed}.{encode(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def part(claims):
    return encode(json.dumps(claims).encode())


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
