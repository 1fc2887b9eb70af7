"""Parsing of broker URLs, and TLS connections to Redis."""

import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flaskapp import broker_urls
from flaskapp.errors import BrokerUnavailable
from flaskapp.jobs.queue import Queue
from tests.redis_server import TLSRedis, tls_redis

__all__ = ["tls_redis"]  # a fixture


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:p%40w@host:1/0", broker_urls.Broker("redis://:p%40w@host:1/0")),
        ("memory://", broker_urls.Broker("memory://")),
        ("rediss://host", broker_urls.Broker(
            "rediss://host", {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True})),
        ("rediss://host/1?ssl_cert_reqs=none", broker_urls.Broker(
            "rediss://host/1", {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False})),
        ("redis://one;rediss://two?ssl_ca_certs=/ca.pem", broker_urls.Broker(
            "redis://one;rediss://two",
            {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True})),
        ("amqps://a:b@host/v?heartbeat=9", broker_urls.Broker(
            "amqps://a:b@host/v?heartbeat=9", {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None})),
        ("amqps://host?ssl_cert_reqs=CERT_NONE", broker_urls.Broker("amqps://host", {"cert_reqs": ssl.CERT_NONE})),
        ("sentinel://one:1/0?master_name=m;sentinel://two:2/0", broker_urls.Broker(
            "sentinel://one:1/0;sentinel://two:2/0", transport_options={"master_name": "m"})),
    ],
)  # fmt: skip
def test_parameters_that_kombu_does_not_accept_are_removed_from_the_url(url: str, expected: broker_urls.Broker) -> None:
    assert broker_urls.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    ["redis://host/0?foo=1", "redis://host/abc", "redis://host:x/0", "redis://host:0", "rediss://host?ssl_cert_reqs=no",
     "rediss://host?ssl_nosuch=1", "sentinel://host:1/0", "sentinel://host:1/0?master_name=", "redis://h?master_name=m",
     "redis://host?virtual_host=1", "redis://host;redis://other?foo=1", "redis://host;nosuch://other"],
)  # fmt: skip
def test_an_unusable_url_stops_the_start(make_app: Callable[..., Flask], url: str) -> None:
    with pytest.raises(Exception, match="FLASKAPP_BROKER_URL must be"):
        make_app(BROKER_URL=url)


def test_a_sentinel_url_without_a_master_name_gets_an_error_with_an_example(make_app: Callable[..., Flask]) -> None:
    with pytest.raises(Exception, match=r"\?master_name=mymaster"):
        make_app(BROKER_URL="sentinel://host:26379/0")


@pytest.mark.redis
def test_a_broker_with_an_untrusted_certificate_is_refused_with_a_logged_reason(
    tls_redis: TLSRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(BrokerUnavailable):
        Queue(tls_redis.url()).is_empty()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.redis
def test_a_broker_is_used_with_its_authority_or_without_verification_on_request(tls_redis: TLSRedis) -> None:
    assert Queue(tls_redis.url(ssl_ca_certs=str(tls_redis.authority))).is_empty()
    assert Queue(tls_redis.url(ssl_cert_reqs="none")).is_empty()


@pytest.mark.redis
def test_a_certificate_for_another_host_is_refused_unless_host_checks_are_off(tls_redis: TLSRedis) -> None:
    authority = str(tls_redis.authority)
    with pytest.raises(BrokerUnavailable):
        Queue(tls_redis.url("localhost", ssl_ca_certs=authority)).is_empty()
    assert Queue(tls_redis.url("localhost", ssl_ca_certs=authority, ssl_check_hostname="false")).is_empty()


@pytest.mark.redis
@pytest.mark.parametrize(("parameters", "is_used"), [({}, False), ({"ssl_cert_reqs": "none"}, True)])
def test_rate_limits_use_only_a_storage_with_a_trusted_certificate(
    make_app: Callable[..., Flask],
    tls_redis: TLSRedis,
    caplog: pytest.LogCaptureFixture,
    parameters: dict[str, Any],
    is_used: bool,
) -> None:
    settings = {"RATE_LIMIT_STORAGE_URL": tls_redis.url(**parameters), "RATE_LIMIT_LOGIN": "2/minute"}
    client = make_app(**settings).test_client()
    login = {"username": "ada", "password": "correct horse"}
    assert [client.post("/login/", json=login).status_code for _ in range(3)] == [200, 200, 429]
    assert ("falling back to in-memory storage" in caplog.text) is not is_used
    assert "hunter2" not in caplog.text
