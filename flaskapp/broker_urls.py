"""Parse a Celery broker's URL: the URL itself, TLS settings and transport options.

kombu passes every query parameter to its Connection, which fails at the first message if a name is unknown, and it
accepts any certificate for `rediss://`. This module rejects unknown parameters at the start, and verifies certificates
unless the URL disables that.
"""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from kombu.connection import Connection
from kombu.transport import resolve_transport

REDIS = ("redis", "rediss", "valkey", "valkeys", "sentinel")
AMQP = ("amqp", "amqps", "pyamqp")
WITH_TLS = ("rediss", "valkeys", "amqps")
CERT_REQS = {
    "required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE,
    "CERT_REQUIRED": ssl.CERT_REQUIRED, "CERT_OPTIONAL": ssl.CERT_OPTIONAL, "CERT_NONE": ssl.CERT_NONE,
}  # fmt: skip
TLS_PARAMETERS = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True)
class Broker:
    url: str  # or several, for failover, with ";" between them
    use_ssl: dict[str, Any] | None = None  # Celery's `broker_use_ssl`
    transport_options: dict[str, Any] = field(default_factory=dict)


def parse(text: str) -> Broker:
    """Parse a URL without connecting. Raise ValueError if it cannot be used."""
    urls = [urlsplit(part) for part in text.split(";")]
    schemes = {url.scheme for url in urls}
    given: dict[str, str] = {}
    for url in urls:
        given |= {name: value for name, value in parse_qsl(url.query) if _is_ours(name)}
    broker = Broker(
        ";".join(map(_without_our_parameters, text.split(";"))),
        _tls(schemes, given),
        _transport_options(schemes, given),
    )
    _check(broker, urls)
    return broker


def _is_ours(name: str) -> bool:
    return name == "master_name" or name.startswith("ssl_")


def _without_our_parameters(url: str) -> str:
    """Return the URL without the parameters that this module parses."""
    base, _, query = url.partition("?")
    others = [(name, value) for name, value in parse_qsl(query) if not _is_ours(name)]
    return f"{base}?{urlencode(others)}" if others else base


def _tls(schemes: Iterable[str], given: dict[str, str]) -> dict[str, Any] | None:
    """Return Celery's `broker_use_ssl`. By default it verifies the certificate and its host name."""
    options: dict[str, Any] = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if not options and not any(scheme in WITH_TLS for scheme in schemes):
        return None
    if unknown := options.keys() - set(TLS_PARAMETERS):
        raise ValueError(f"unknown parameters: {unknown}")
    cert_reqs = CERT_REQS.get(options.get("ssl_cert_reqs", "required"))
    if cert_reqs is None:
        raise ValueError("ssl_cert_reqs is none of required, optional and none")
    checks_name = cert_reqs != ssl.CERT_NONE and options.pop("ssl_check_hostname", "true").lower() != "false"
    options.pop("ssl_check_hostname", None)
    options |= {"ssl_cert_reqs": cert_reqs}
    if any(scheme in AMQP for scheme in schemes):
        options = {name.removeprefix("ssl_"): value for name, value in options.items()}
        return options | ({"server_hostname": None} if checks_name else {})  # None: kombu fills in the URL's host
    return options | {"ssl_check_hostname": checks_name}


def _transport_options(schemes: Iterable[str], given: dict[str, str]) -> dict[str, Any]:
    if "sentinel" not in schemes:
        if "master_name" in given:
            raise ValueError("master_name is for sentinel:// alone")
        return {}
    if not given.get("master_name"):
        raise ValueError("sentinel:// needs ?master_name=<the name that Sentinel has for the master>")
    return {"master_name": given["master_name"]}


def _check(broker: Broker, urls: Iterable[SplitResult]) -> None:
    for url in urls:
        if url.port == 0:  # reading `port` raises ValueError if it is no number
            raise ValueError("port 0")
        if url.scheme in REDIS and not (url.path.strip("/") or "0").isdecimal():
            raise ValueError("Redis's databases have numbers")
        resolve_transport(url.scheme)
    try:
        for each in broker.url.split(";"):  # kombu parses all but the first only after a failure
            Connection(each, ssl=broker.use_ssl or False)  # type: ignore[no-untyped-call]
    except (TypeError, KeyError) as error:
        raise ValueError("a parameter that kombu does not know") from error
