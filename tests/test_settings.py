import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flaskapp import create_app
from flaskapp.errors import InvalidSetting
from flaskapp.settings import SETTINGS, data_folder


def test_unset_settings_have_their_defaults(make_app: Callable[..., Flask]) -> None:
    config = make_app().config
    assert (config["MAX_UPLOAD_MB"], config["MAX_MEGAPIXELS"], config["MAX_SIDE"]) == (16, 50, 4096)
    assert config["MAX_CONTENT_LENGTH"] == 16 * 2**20


def test_an_environment_variable_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKAPP_MAX_UPLOAD_MB", "32")
    monkeypatch.setenv("FLASKAPP_CAPTIONER_REVISION", "1e5")  # a commit, not a number
    config = create_app().config
    assert config["MAX_CONTENT_LENGTH"] == 32 * 2**20
    assert config["CAPTIONER_REVISION"] == "1e5"


@pytest.mark.parametrize(
    ("defaults", "complaint"),
    [
        ('{"beams": 8}', "beams: Unknown field."),
        ('{"num_beams": 0}', "num_beams: Must be greater than or equal to 1"),
        ('{"max_length": "16"}', "max_length: Not a valid integer."),
        ('{"seed": 7}', "seed: Unknown field."),
        ('{"scores": true}', "scores: Unknown field."),
    ],
)
def test_invalid_default_generation_settings_stop_the_start(defaults: str, complaint: str) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_CAPTIONER_DEFAULTS must hold settings of `config`") as caught:
        create_app({"CAPTIONER_DEFAULTS": defaults})
    assert complaint in str(caught.value)


def test_default_generation_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKAPP_CAPTIONER_DEFAULTS", '{"max_length": 9, "num_beams": 1, "early_stopping": "never"}')
    assert create_app().config["CAPTIONER_DEFAULTS"] == {"max_length": 9, "num_beams": 1, "early_stopping": "never"}


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKAPP_MAX_SIDE", "")
    assert create_app().config["MAX_SIDE"] == 4096


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("MAX_UPLOAD_MB", "lots", "a whole number"),
        ("MAX_MEGAPIXELS", 0, "a whole number from 1 to "),
        ("MAX_SIDE", "-1", "from 1 to 16383"),
        ("MAX_SIDE", "16384", "from 1 to 16383"),
        ("CAPTIONER_DEVICE", "gpu", "cpu, cuda"),
        ("CAPTIONER_DEVICE", "cpu:1", "cpu, cuda"),
        ("CAPTIONER_DEVICE", "cuda:0,", "cpu, cuda"),
        ("CAPTIONER_DEVICE", "cuda:0 cuda:1", "cpu, cuda"),
        ("CAPTIONER_PRECISION", "fp8", "fp32"),
        ("CAPTIONER_DEFAULTS", "8 beams", "a JSON object such as"),
        ("CAPTIONER_DEFAULTS", "[]", "a JSON object such as"),
        ("MAX_JOB_IMAGES", 0, "a whole number from 1 to "),
        ("JOB_TTL", "a day", "a whole number"),
        ("REQUIRE_LOGIN", "maybe", "true or false"),
        ("REGISTRATION", "ajar", "open, closed"),
        ("RATE_LIMIT_LOGIN", "often", "a rate such as 30/minute"),
        ("RATE_LIMIT_LOGIN", "0/minute", "a rate such as 30/minute"),
        ("RATE_LIMIT_FAILURES", "30", "a rate such as 30/minute"),
        ("RATE_LIMIT_USERNAME", "0/hour", "a rate such as 30/minute"),
        ("RATE_LIMIT_USERNAME", "99999999999/hour", "of at most 1,000,000,000"),
        ("RATE_LIMIT_IMAGES", "5 per 800 days", "in at most a year"),
        ("RATE_LIMIT_IMAGES", "100 images", "a rate such as 30/minute"),
        ("CORS_ORIGINS", "app.example", "origins such as https://app.example"),
        ("CORS_ORIGINS", "https://app.example/", "without a path"),
        ("CORS_ORIGINS", "https://App.example", "in lower case"),
        ("CORS_ORIGINS", "https://a.example,*", "origins such as"),
        ("CORS_ORIGINS", "https://*.example", "origins such as"),
        ("CORS_ORIGINS", "null", "origins such as"),
        ("TRUSTED_PROXIES", "all", "from 0 to 100"),
        ("TRUSTED_PROXIES", "-1", "from 0 to 100"),
    ],
)
def test_an_invalid_value_stops_the_start_and_its_key_is_named(name: str, value: Any, meant: str) -> None:
    with pytest.raises(InvalidSetting, match=f"FLASKAPP_{name} must be .*{meant}"):
        create_app({name: value})


@pytest.mark.parametrize(
    "url", ["ada:hunter2@host", "postgresql://ada:p@hunter2:x@host", "nosuch://hunter2@host", "oracle://hunter2@host",
            "sqlite://", "sqlite:///:memory:"]
)  # fmt: skip
def test_an_invalid_database_url_is_named_but_not_printed(url: str) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_DATABASE_URL must be") as caught:
        create_app({"DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["nosuch://hunter2@host", "redis://hunter2:x:y@host:z", "async+memory://hunter2", "hunter2"]
)
def test_an_invalid_storage_url_is_named_but_not_printed(url: str) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_RATE_LIMIT_STORAGE_URL must be") as caught:
        create_app({"RATE_LIMIT_STORAGE_URL": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [("BROKER_URL", "nosuch://hunter2@host"), ("BROKER_URL", "hunter2"), ("BROKER_URL", "filesystem://hunter2"),
     ("BLOB_STORE", "nosuch://hunter2"), ("BLOB_STORE", "s3://hunter2")],
)  # fmt: skip
def test_an_invalid_broker_or_blob_store_is_named_but_not_printed(name: str, url: str) -> None:
    with pytest.raises(InvalidSetting, match=f"FLASKAPP_{name} must be") as caught:
        create_app({name: url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [("BROKER_URL", "memory://"), ("BROKER_URL", "memory://hunter2"), ("BROKER_URL", "redis://host;memory://hunter2"),
     ("BLOB_STORE", "memory://"), ("BLOB_STORE", "memory://hunter2"), ("RATE_LIMIT_STORAGE_URL", "memory://hunter2")],
)  # fmt: skip
def test_a_store_in_the_memory_of_one_process_stops_the_start(name: str, url: str) -> None:
    with pytest.raises(InvalidSetting, match=f"FLASKAPP_{name} must be .* that all processes share") as caught:
        create_app({name: url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", [" ", "\t", "\n"])
def test_a_blob_store_of_spaces_stops_the_start(text: str) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_BLOB_STORE must be a folder or"):
        create_app({"BLOB_STORE": text})


def test_jobs_are_stored_beside_the_sqlite_file_or_in_the_instance_folder() -> None:
    assert data_folder({"DATABASE_URL": "sqlite:////data/flaskapp.db"}, "/instance") == Path("/data/flaskapp-jobs")
    assert data_folder({"DATABASE_URL": "postgresql://host/name"}, "/instance") == Path("/instance/jobs")


@pytest.mark.parametrize(
    ("given", "value"), [("true", True), ("True", True), (True, True), ("false", False), ("", False)]
)
def test_a_boolean_is_true_or_false(given: Any, value: bool) -> None:
    assert create_app({"REQUIRE_LOGIN": given}).config["REQUIRE_LOGIN"] is value


def test_a_variable_that_is_no_setting_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKAPP_DEBUG", "false")
    monkeypatch.setenv("FLASKAPP_TESTING", "0")
    monkeypatch.setenv("FLASKAPP_MAX_FORM_PARTS", "100")
    app = create_app()
    assert app.debug is app.testing is False
    assert app.config["MAX_FORM_PARTS"] == 1000


def test_a_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FLASKAPP_MAX_UPLOD_MB", "32")
    monkeypatch.setenv("FLASKAPP_PORT_80_TCP_ADDR", "10.0.0.1")  # set by an orchestrator
    with caplog.at_level(logging.WARNING):
        create_app()
    assert "Did you mean FLASKAPP_MAX_UPLOAD_MB?" in caplog.text
    assert "PORT_80" not in caplog.text


@pytest.mark.parametrize(
    "name",
    ["CAPTIONER_MAX_BATCH", "CAPTIONER_QUEUE", "CAPTIONER_DEADLINE", "CAPTIONER_CACHE_MB", "MAX_UPLOAD_MB",
     "MAX_MEGAPIXELS", "MAX_SIDE", "MAX_IMAGES", "MAX_JOB_IMAGES", "MAX_JOB_MB", "MAX_JOBS_MB", "MAX_CLIENT_JOBS",
     "MAX_CLIENT_JOB_IMAGES", "JOB_TTL", "TRUSTED_PROXIES"],
)  # fmt: skip
@pytest.mark.parametrize("digits", [11, 25, 400, 5000])
def test_a_number_has_an_upper_bound_and_its_error_is_short(name: str, digits: int) -> None:
    with pytest.raises(InvalidSetting, match=f"FLASKAPP_{name} must be a whole number from [01] to ") as caught:
        create_app({name: "9" * digits})
    assert len(str(caught.value)) < 250


def test_the_default_of_a_number_is_within_its_bounds() -> None:
    numbers = [setting for setting in SETTINGS if type(setting.default) is int]
    assert [setting.parse(str(setting.default)) for setting in numbers] == [setting.default for setting in numbers]


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a":' * 50_000])
def test_deeply_nested_default_generation_settings_stop_the_start(text: str) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_CAPTIONER_DEFAULTS must be a JSON object such as"):
        create_app({"CAPTIONER_DEFAULTS": text})


def test_every_setting_has_a_help_text() -> None:
    assert all(setting.help for setting in SETTINGS)
