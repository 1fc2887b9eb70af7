"""The table of settings. They are read from `FLASKAPP_<NAME>` variables and checked when the application starts."""

import difflib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Config
from sqlalchemy.engine import make_url

from flaskapp.errors import InvalidSetting
from flaskapp.setting_values import (
    MAX_WEBP_SIDE,
    OFF,
    blob_store,
    boolean,
    broker_url,
    database_url,
    device,
    hosts,
    json_object,
    one_of,
    origins,
    rate,
    storage_url,
    webhook_secret,
    whole,
)
from flaskapp.shared_counters import SHARED

log = logging.getLogger(__name__)

PREFIX = "FLASKAPP"
PER_USERNAME = "100/hour"  # wrong passwords; NIST SP 800-63B allows 100 in a row
MAX_SHOWN = 100  # characters of an invalid value in its error


@dataclass(frozen=True)
class Setting:
    """A row of the table. `parse` turns text into the value, or raises ValueError with a description of valid texts."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False  # may contain a password: never printed


SETTINGS = (
    Setting("CAPTIONER_MODEL", str, None, "Hub id, folder or `embedded`: that model or none. Unset: `nlpconnect/vit-gpt2-image-captioning`, or `embedded` where that is not cached and the hub cannot be reached"),
    Setting("CAPTIONER_REVISION", str, None, "Commit of the hub model. Unset: a pinned one for the default model, else `main`"),
    Setting("CAPTIONER_DEVICE", device, "auto", "`cpu`, `cuda`, `cuda:1`; `auto` takes the first GPU if there is one. `cuda:0,cuda:1`: the server runs the model on each of these (the command line and Celery's workers on the first)"),
    Setting("CAPTIONER_PRECISION", one_of("auto", "fp32", "bf16", "int8", "fp16"), "fp32", "`fp32`; `bf16`; `int8` on a CPU; `fp16` on a GPU; `auto` chooses by the processor: `bf16` where it has instructions for it, else `int8` or `fp32`"),
    Setting("CAPTIONER_DEFAULTS", json_object, {}, "Defaults of the generation settings, as JSON in the form of `config`. They take precedence over the model's own"),
    Setting("CAPTIONER_MAX_BATCH", whole(1, 1024), 16, "Images that go through the model at once"),
    Setting("CAPTIONER_QUEUE", whole(1, 100_000), 64, "Images that may wait; more get 503"),
    Setting("CAPTIONER_DEADLINE", whole(1, 86_400), 30, "Seconds after which captions that are not ready get 504"),
    Setting("CAPTIONER_CACHE_MB", whole(0, 2**20), 0, "Size of a cache of captions in the engine's process, in MiB: by file, model and settings. Captions sampled without a seed are not cached. Identical concurrent requests are computed once. 0: no cache"),
    Setting("MAX_UPLOAD_MB", whole(1, 4096), 16, "Size of a request body in MiB; larger ones get 413"),
    Setting("FETCH_HOSTS", hosts, None, "Hosts from which images are fetched when a client sends a URL, such as `images.example.com,cdn.example.com:8443`: only by HTTPS, from public addresses. Unset: no URL is fetched"),
    Setting("MAX_MEGAPIXELS", whole(1, 10_000), 50, "Size of an uploaded image; larger ones get 422 before a pixel is decoded"),
    Setting("MAX_SIDE", whole(1, MAX_WEBP_SIDE), 4096, "Largest `h` and `w` of `/cv_model/`, in pixels"),
    Setting("MAX_IMAGES", whole(1, 10_000), 32, "Images in one `/caption/` request"),
    Setting("DATABASE_URL", database_url, None, "Any SQLAlchemy URL. Unset: an SQLite file in the instance folder", secret=True),
    Setting("MAX_JOB_IMAGES", whole(1, 1_000_000), 5000, "Images in one caption job"),
    Setting("MAX_JOB_MB", whole(1, 2**20), 64, "Size of the images of one caption job, unpacked, in MiB"),
    Setting("MAX_JOBS_MB", whole(1, 2**30), 2048, "Size of the images of all caption jobs that have not ended, unpacked, in MiB"),
    Setting("MAX_CLIENT_JOBS", whole(1, 1_000_000), 100, "Caption jobs of one login, or of one address without logins, that have not ended; more get 429"),
    Setting("MAX_CLIENT_JOB_IMAGES", whole(1, 100_000_000), 10000, "Images of these jobs that wait for captions; more get 429. A first job always fits"),
    Setting("JOB_TTL", whole(1, 10 * 365 * 86_400), 86400, "Seconds that a caption job may take, and that its results are kept after its end"),
    Setting("WEBHOOK_HOSTS", hosts, None, "Hosts that a job may name as its `webhook`, such as `hooks.example.com,example.org:8443`: it gets the job's status when the job has ended, only by HTTPS, at public addresses. Unset: no webhooks"),
    Setting("WEBHOOK_SECRET", webhook_secret, None, "Key of the webhooks' signatures (HMAC-SHA256), 16 characters or more. Required with `FLASKAPP_WEBHOOK_HOSTS`", secret=True),
    Setting("BROKER_URL", broker_url, None, "Celery's broker for caption jobs, such as `redis://host:6379/0`; `rediss://` verifies the certificate, unless `?ssl_cert_reqs=none`. Unset: a folder, and a worker that the server runs", secret=True),
    Setting("BLOB_STORE", blob_store, None, "Store of the images of unfinished caption jobs: a folder or any fsspec URL, the same for all servers and workers. S3, and other stores that use asyncio, need servers with `--worker-class gthread --threads 64`. Unset: a folder beside the SQLite file, or in the instance folder", secret=True),
    Setting("REQUIRE_LOGIN", boolean, False, "`true`: `/caption/`, `/caption_jobs/`, `/image-to-text`, `/cv_model/`, `/text_model/` and the APIs of other servers (`/v1/`, `/v2/`, `/api/`) require HTTP Basic with a saved login, or an API token"),
    Setting("REGISTRATION", one_of("open", "closed"), None, "`open`: `/login/` saves new names; `closed`: it only checks. Unset: `closed` with `FLASKAPP_REQUIRE_LOGIN`, else `open`"),
    Setting("RATE_LIMIT_LOGIN", rate, "300/minute", "Calls of `/login/` from one address, or `off`; more get 429"),
    Setting("RATE_LIMIT_FAILURES", rate, "30/minute", "Wrong passwords and API tokens from one address, at `/login/` and at the endpoints that require a login, or `off`; more get 429"),
    Setting("RATE_LIMIT_USERNAME", rate, None, "Wrong passwords for one username from all addresses, or `off`; more get 429, except from addresses that logged in under it within 30 days. Unset: `100/hour`, or `off` with `FLASKAPP_RATE_LIMIT_FAILURES=off`"),
    Setting("RATE_LIMIT_IMAGES", rate, OFF, "Images to caption for one login or API token, or for one address without logins, such as `1000/hour`, or `off`; more get 429"),
    Setting("RATE_LIMIT_STORAGE_URL", storage_url, SHARED, "Where rate limits are counted: `shared://`, in the memory of this server's workers; `redis://host:6379`, for several servers; `rediss://` verifies the certificate, unless `?ssl_cert_reqs=none`", secret=True),
    Setting("TRUSTED_PROXIES", whole(0, 100), 0, "Number of proxies in front whose `X-Forwarded-For` and `X-Forwarded-Prefix` are trusted"),
    Setting("CORS_ORIGINS", origins, None, "Origins whose pages may call this server from a browser (CORS), such as `https://app.example`, with commas between them, or `*`. Unset: none"),
    Setting("LOG_FORMAT", one_of("text", "json"), "text", "`text` or `json` (one JSON object per line, for all log records, under gunicorn and Celery)"),
)  # fmt: skip


def read_environment(config: Config) -> None:
    """Copy the texts of the settings from the `FLASKAPP_` variables into `config`. Warn of misspelt names."""
    variables = _variables()
    names = {setting.name for setting in SETTINGS}
    config.update({name: text for name, text in variables.items() if name in names})
    _warn_of_misspelt(variables.keys() - names)


def read_one(name: str) -> Any:
    """Return one setting from the environment. Raise InvalidSetting for an invalid value."""
    return next(_value(setting, _variables().get(name)) for setting in SETTINGS if setting.name == name)


def has_own_queue() -> bool:
    """Whether the queue of jobs is a folder on this machine. Imports no broker's driver."""
    return urlsplit(_variables().get("BROKER_URL") or "filesystem:").scheme == "filesystem"


def devices() -> list[str]:
    """Return the devices that the server runs the model on, with one process for each."""
    named: str = read_one("CAPTIONER_DEVICE")
    return named.split(",")


def check() -> None:
    """Check all variables. On an invalid one, log it and end the process."""
    variables = _variables()
    with exiting_on_error():
        _check_together({setting.name: _value(setting, variables.get(setting.name)) for setting in SETTINGS})


@contextmanager
def exiting_on_error(status: int = 1) -> Iterator[None]:
    """On InvalidSetting, log one line and end the process."""
    try:
        yield
    except InvalidSetting as error:
        log.critical("%s", error)
        sys.exit(status)


def _variables() -> Config:
    variables = Config("")
    variables.from_prefixed_env(PREFIX, loads=str)
    return variables


def apply(config: MutableMapping[str, Any]) -> None:
    """Parse the settings in a Flask configuration, fill in the defaults, and set Flask's MAX_CONTENT_LENGTH.

    Raise InvalidSetting, which names the setting, for an invalid value.
    """
    for setting in SETTINGS:
        config[setting.name] = _value(setting, config.get(setting.name))
    _check_together(config)
    config["REGISTRATION"] = config["REGISTRATION"] or ("closed" if config["REQUIRE_LOGIN"] else "open")
    config["RATE_LIMIT_USERNAME"] = config["RATE_LIMIT_USERNAME"] or (
        OFF if config["RATE_LIMIT_FAILURES"] == OFF else PER_USERNAME
    )
    config["MAX_CONTENT_LENGTH"] = config["MAX_UPLOAD_MB"] * 2**20


def _check_together(values: Mapping[str, Any]) -> None:
    if values["WEBHOOK_HOSTS"] and not values["WEBHOOK_SECRET"]:
        raise InvalidSetting(f"{PREFIX}_WEBHOOK_SECRET must be set, because {PREFIX}_WEBHOOK_HOSTS is set")


def of_captioner(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CAPTIONER_ settings as keyword arguments of the captioner's `Configuration`."""
    prefix = "CAPTIONER_"
    names = [setting.name for setting in SETTINGS if setting.name.startswith(prefix)]
    return {name.removeprefix(prefix).lower(): config[name] for name in names}


def data_folder(config: Mapping[str, Any], instance_folder: str) -> Path:
    """Return the default folder of job data: beside the SQLite file, or in the instance folder."""
    url = make_url(config["DATABASE_URL"])
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith("file:"):
        return Path(url.database).absolute().parent / f"{Path(url.database).stem}-jobs"
    return Path(instance_folder) / "jobs"


def _value(setting: Setting, given: Any) -> Any:
    if given is None or given == "":
        return setting.default
    try:
        return setting.parse(json.dumps(given) if isinstance(given, dict) else str(given))
    except ValueError as error:
        got = "" if setting.secret else f", not {_shortened(str(given))!r}"
        raise InvalidSetting(f"{PREFIX}_{setting.name} must be {error}{got}") from None


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _warn_of_misspelt(names: Iterable[str]) -> None:
    """Warn of a name that resembles a setting. It is no error: orchestrators set variables with this prefix too."""
    known = [setting.name for setting in SETTINGS]
    for name in sorted(names):
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            log.warning("%s_%s is not a setting. Did you mean %s_%s?", PREFIX, name, PREFIX, meant)
