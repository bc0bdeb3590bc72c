"""What an operator may say of a gateway. A setting that is unknown or missing is an error."""

import dataclasses
import re
import types
import typing


class SettingsError(Exception):
    """A text for the operator."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files of the gateway's own certificate chain and its private key."""

    certificate: str
    key: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpstreamTls:
    """How the services are known, and what the gateway shows to them."""

    ca: str  # PEM file with the authorities that may vouch for a service.
    server_name: str  # What a service's certificate must be for: a DNS name, or an IP address.
    certificate: str  # The gateway's client certificate.
    key: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upstream:
    """Instances of each service, as host:port. A name may stand for several addresses."""

    sites: list[str]
    configurations: list[str]
    live_data: list[str]
    tls: UpstreamTls | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jwt:
    """Whose tokens count. The keys come from a file or from a URL."""

    issuer: str
    audience: str
    jwks_file: str | None = None
    jwks_url: str | None = None
    # Authorities that may vouch for an https URL.
    jwks_ca: str = "/etc/ssl/certs/ca-certificates.crt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Calls a second, each with a burst of one second. They hold where there are tokens."""

    all_per_second: int = 5000
    subject_per_second: int = 100
    # Of all tokens that are bound to the same sites, together.
    bound_sites_per_second: int = 200
    # host:port of an envoyproxy/ratelimit that all gateways share.
    service: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracing:
    """Spans go to an OpenTelemetry collector by gRPC."""

    collector: str  # host:port
    sampled_percent: float = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The root of the settings file.

    `tls` and `jwt` must be there: only who writes `null` gets a gateway that trusts everybody.
    """

    listen: str  # address:port
    descriptor_set: str  # energy_sites.pb of the build, where Envoy finds it.
    upstream: Upstream
    tls: Tls | None
    jwt: Jwt | None
    cors_origins: list[str] = dataclasses.field(default_factory=list)
    rate_limits: RateLimits = RateLimits()
    tracing: Tracing | None = None
    access_log: bool = False
    metrics_listen: str | None = None  # address:port where Prometheus reads /stats/prometheus.
    call_timeout: str = "30s"
    stream_idle_timeout: str = "60s"
    heap_limit_mib: int = 1024


def parse(data) -> Settings:
    """Settings from what YAML holds; raises SettingsError."""
    settings = _read(Settings, data, "settings")
    _check_values(settings)
    jwt = settings.jwt
    if jwt and (jwt.jwks_file is None) == (jwt.jwks_url is None):
        raise SettingsError("jwt: exactly one of jwks_file and jwks_url must be set")
    for name in ("sites", "configurations", "live_data"):
        if not getattr(settings.upstream, name):
            raise SettingsError(f"upstream.{name}: must name at least one address")
    return settings


def address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, where an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"{text}: must be host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_values(settings):
    """What a type does not say."""
    for name in ("call_timeout", "stream_idle_timeout"):
        text = getattr(settings, name)
        if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?s", text) or float(text[:-1]) == 0:
            raise SettingsError(f"{name}: must be seconds, such as 30s or 0.5s, not {text!r}")
    limits = settings.rate_limits
    least = {"heap_limit_mib": (settings.heap_limit_mib, 64)} | {
        f"rate_limits.{field.name}": (getattr(limits, field.name), 1)
        for field in dataclasses.fields(limits) if field.type is int
    }  # fmt: skip
    for name, (value, bound) in least.items():
        if value < bound:
            raise SettingsError(f"{name}: must be at least {bound}, not {value}")
    sampled = settings.tracing.sampled_percent if settings.tracing else 0
    if not 0 <= sampled <= 100:
        raise SettingsError(f"tracing.sampled_percent: must be from 0 to 100, not {sampled}")


def _read(kind, data, where):
    """`data` as a value of the type `kind`."""
    if isinstance(kind, types.UnionType):
        return None if data is None else _read(typing.get_args(kind)[0], data, where)
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        if not isinstance(data, list):
            raise SettingsError(f"{where}: must be a list")
        return [_read(item, one, f"{where}[{index}]") for index, one in enumerate(data)]
    if dataclasses.is_dataclass(kind):
        return _read_object(kind, data, where)
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:
        raise SettingsError(f"{where}: must be of type {kind.__name__}, not {data!r}")
    # Of some, an empty one is to Envoy one that is not there: of an issuer, each counts.
    if data == "":
        raise SettingsError(f"{where}: must not be empty")
    return data


def _read_object(kind, data, where):
    if not isinstance(data, dict):
        raise SettingsError(f"{where}: must hold settings by name")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = "" if where == "settings" else f"{where}."
    unknown = [f"{prefix}{name}" for name in data if name not in fields]
    if unknown:
        raise SettingsError(f"unknown settings: {', '.join(unknown)}")
    missing = [
        f"{prefix}{name}" for name, field in fields.items()
        if name not in data and field.default is field.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if missing:
        raise SettingsError(f"missing settings: {', '.join(missing)}")
    return kind(**{
        name: _read(fields[name].type, value, f"{prefix}{name}") for name, value in data.items()
    })  # fmt: skip
