"""The settings: one table, read from `FLASKAPP_<NAME>` variables and checked once, when the application starts."""

import difflib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Config
from fsspec.core import get_filesystem_class, split_protocol
from limits import parse_many
from limits.storage import Storage, storage_from_string
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flaskapp import broker_urls
from flaskapp.errors import InvalidSetting
from flaskapp.shared_counters import SHARED

log = logging.getLogger(__name__)

PREFIX = "FLASKAPP"
LARGEST_SIDE = 16_383  # pixels
OFF = "off"
PER_USERNAME = "100/hour"  # wrong passwords; NIST SP 800-63B allows 100 in a row


@dataclass(frozen=True)
class Setting:
    """One row of the table. `parse` turns the text of a variable into the value, or raises ValueError saying what is meant."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False  # may hold a password: never printed


def positive(text: str) -> int:
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise ValueError("a whole number of 1 or more")
    return number


def whole(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("a whole number of 0 or more")
    return int(text)


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def side(text: str) -> int:
    pixels = positive(text)
    if pixels > LARGEST_SIDE:
        raise ValueError(f"at most {LARGEST_SIDE}, the side of the largest WebP")
    return pixels


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('a JSON object such as {"max_length": 16, "num_beams": 8}')
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return text

    return parse


def hosts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?", name) for name in names):
        raise ValueError("names of hosts such as images.example.com, or several of these with commas")
    return names


def webhook_secret(text: str) -> str:
    if len(text) < 16:
        raise ValueError("16 characters or more")
    return text


def device(text: str) -> str:
    if all(re.fullmatch("auto|cpu|cuda|cuda:(0|[1-9][0-9]?)", each) for each in text.split(",")):
        return text
    raise ValueError("auto, cpu, cuda or cuda:<number>, or several of these with commas")


def database_url(text: str) -> str:
    try:
        url = make_url(text)
        url.get_dialect().import_dbapi()
    except (ArgumentError, ImportError, ValueError):  # also an unknown dialect, a missing driver, a port of letters
        raise ValueError("an SQLAlchemy URL such as postgresql://user@host/name, its driver installed") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("a database that outlives a connection, such as sqlite:////data/flaskapp.db")
    return text


def broker_url(text: str) -> str:
    try:
        scheme = urlsplit(text).scheme
        is_usable = bool(scheme) and (scheme != "filesystem" or text.startswith("filesystem:///"))
        if scheme != "filesystem":
            broker_urls.parse(text)
    except Exception:  # each driver has errors of its own
        is_usable = False
    if not is_usable and text.startswith("sentinel://"):
        raise ValueError("a URL such as sentinel://host:26379/0?master_name=mymaster, with the master's name")
    if not is_usable:
        raise ValueError(
            "a Celery broker's URL such as redis://host:6379/0, its driver installed, or filesystem:///folder"
        )
    return text


def blob_store(text: str) -> str:
    try:
        get_filesystem_class(split_protocol(text)[0])
    except (ImportError, ValueError):
        raise ValueError("a folder or an fsspec URL such as s3://bucket/folder, its driver installed") from None
    return text


def rate(text: str) -> str:
    try:
        is_usable = text == OFF or all(limit.amount > 0 for limit in parse_many(text))
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"a rate such as 30/minute, or {OFF}")
    return text


def storage_url(text: str) -> str:
    try:
        is_usable = isinstance(storage_from_string(text), Storage)
    except Exception:  # each driver has errors of its own; some connect at once
        is_usable = False
    if not is_usable:
        raise ValueError(f"{SHARED} or a storage URL such as redis://host:6379, its driver installed")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Browsers send an origin in lower case, and without a path or the scheme's own port."""
    listed = tuple(each.strip() for each in text.split(","))
    if listed != ("*",) and not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]+", each) for each in listed):
        raise ValueError("* or origins such as https://app.example, in lower case, without a path")
    return listed


SETTINGS = (
    Setting("CAPTIONER_MODEL", str, None, "Hub id, folder or `embedded`: that model or none. Unset: `nlpconnect/vit-gpt2-image-captioning`, or `embedded` where that is not cached and the hub cannot be reached"),
    Setting("CAPTIONER_REVISION", str, None, "Commit of the hub model. Unset: a pinned one for the default model, else `main`"),
    Setting("CAPTIONER_DEVICE", device, "auto", "`cpu`, `cuda`, `cuda:1`; `auto` takes the first GPU if there is one. `cuda:0,cuda:1`: the server runs the model on each of these (the command line and Celery's workers on the first)"),
    Setting("CAPTIONER_PRECISION", one_of("fp32", "int8", "bf16", "fp16"), "fp32", "`fp32`; `int8` on a CPU; `bf16` or `fp16` on a GPU"),
    Setting("CAPTIONER_DEFAULTS", json_object, {}, "Generation settings for what a request does not say, as JSON in the form of `config`. They take precedence over the model's own defaults"),
    Setting("CAPTIONER_MAX_BATCH", positive, 16, "Images that go through the model at once"),
    Setting("CAPTIONER_QUEUE", positive, 64, "Images that may wait; more get 503"),
    Setting("CAPTIONER_DEADLINE", positive, 30, "Seconds after which captions that are not ready get 504"),
    Setting("CAPTIONER_CACHE_MB", whole, 0, "Size of a cache of captions in the engine's process, in MiB: for the same file, model and settings; draws without a seed are never kept. Requests that are the same at the same time are computed once. 0: none"),
    Setting("MAX_UPLOAD_MB", positive, 16, "Size of a request body in MiB; larger ones get 413"),
    Setting("FETCH_HOSTS", hosts, None, "Hosts from which images are fetched where a client sends an address, such as `images.example.com,cdn.example.com:8443`: by HTTPS alone, from public addresses. Unset: no address is fetched"),
    Setting("MAX_MEGAPIXELS", positive, 50, "Size of an uploaded image; larger ones get 422 before a pixel is decoded"),
    Setting("MAX_SIDE", side, 4096, "Largest `h` and `w` of `/cv_model/`, in pixels"),
    Setting("MAX_IMAGES", positive, 32, "Images in one `/caption/` request"),
    Setting("DATABASE_URL", database_url, None, "Any SQLAlchemy URL. Unset: an SQLite file in the instance folder", secret=True),
    Setting("MAX_JOB_IMAGES", positive, 5000, "Images in one caption job"),
    Setting("MAX_JOB_MB", positive, 64, "Size of the images of one caption job, unpacked, in MiB"),
    Setting("MAX_JOBS_MB", positive, 2048, "Size of the images of all caption jobs that have not ended, unpacked, in MiB"),
    Setting("MAX_CLIENT_JOBS", positive, 100, "Caption jobs of one login, or of one address without logins, that have not ended; more get 429"),
    Setting("MAX_CLIENT_JOB_IMAGES", positive, 10000, "Images of these that wait for captions; more get 429. A first job always fits"),
    Setting("JOB_TTL", positive, 86400, "Seconds that a caption job may take, and that its results are kept after its end"),
    Setting("WEBHOOK_HOSTS", hosts, None, "Hosts that a job may name as its `webhook`, such as `hooks.example.com,example.org:8443`: they get its status when it has ended, by HTTPS alone, at public addresses. Unset: no webhook is sent"),
    Setting("WEBHOOK_SECRET", webhook_secret, None, "Key of the signatures (HMAC-SHA256) of these requests, 16 characters or more. Wanted with `WEBHOOK_HOSTS`", secret=True),
    Setting("BROKER_URL", broker_url, None, "Celery's broker for caption jobs, such as `redis://host:6379/0`; `rediss://` verifies the certificate, unless `?ssl_cert_reqs=none`. Unset: a folder, and a worker that the server runs", secret=True),
    Setting("BLOB_STORE", blob_store, None, "Where the images of caption jobs wait: a folder or any fsspec URL, the same for all servers and workers (S3 and what else uses asyncio: servers with `--worker-class gthread --threads 64`). Unset: a folder beside the SQLite file, or in the instance folder", secret=True),
    Setting("REQUIRE_LOGIN", boolean, False, "`true`: `/caption/`, `/caption_jobs/`, `/image-to-text`, `/cv_model/`, `/text_model/` and the APIs of other servers (`/v1/`, `/v2/`, `/api/`) want HTTP Basic with a saved login, or an API token"),
    Setting("REGISTRATION", one_of("open", "closed"), None, "`open`: `/login/` saves new names; `closed`: it only checks. Unset: `closed` with `REQUIRE_LOGIN`, else `open`"),
    Setting("RATE_LIMIT_LOGIN", rate, "300/minute", "Calls of `/login/` from one address, or `off`; more get 429"),
    Setting("RATE_LIMIT_FAILURES", rate, "30/minute", "Wrong passwords and API tokens from one address, at `/login/` and at the endpoints that want a login, or `off`; more get 429"),
    Setting("RATE_LIMIT_USERNAME", rate, None, "Wrong passwords for one username from all addresses, or `off`; more get 429, except from addresses that logged in under it within 30 days. Unset: `100/hour`, or `off` with `RATE_LIMIT_FAILURES=off`"),
    Setting("RATE_LIMIT_IMAGES", rate, OFF, "Images to caption for one login or API token, or for one address without logins, such as `1000/hour`, or `off`; more get 429"),
    Setting("RATE_LIMIT_STORAGE_URL", storage_url, SHARED, "Where these are counted: `shared://`, in the memory of this server's workers; `redis://host:6379`, for several servers; `rediss://` verifies the certificate, unless `?ssl_cert_reqs=none`", secret=True),
    Setting("TRUSTED_PROXIES", whole, 0, "Proxies in front whose `X-Forwarded-For` and `X-Forwarded-Prefix` are believed; 0: none is"),
    Setting("CORS_ORIGINS", origins, None, "Origins whose pages may call this server from a browser (CORS), such as `https://app.example`, with commas between them, or `*`. Unset: none"),
    Setting("LOG_FORMAT", one_of("text", "json"), "text", "`text`: readable lines; `json`: an object a line, also of what is no request (under gunicorn)"),
)  # fmt: skip


def read_environment(config: Config) -> None:
    """Take the settings, and nothing else, from the environment's `FLASKAPP_` variables, as text."""
    variables = _variables()
    names = {setting.name for setting in SETTINGS}
    config.update({name: text for name, text in variables.items() if name in names})
    _warn_of_misspelt(variables.keys() - names)


def read_one(name: str) -> Any:
    """A setting, straight from the environment. Raises InvalidSetting for a value that cannot be used."""
    return next(_value(setting, _variables().get(name)) for setting in SETTINGS if setting.name == name)


def has_own_queue() -> bool:
    """Whether the jobs' queue is a folder of this machine. Asks no driver of a broker."""
    return urlsplit(_variables().get("BROKER_URL") or "filesystem:").scheme == "filesystem"


def devices() -> list[str]:
    """Where the server runs the model: a process for each."""
    named: str = read_one("CAPTIONER_DEVICE")
    return named.split(",")


def check() -> None:
    """End the process, as `exiting_on_error`, for a variable that cannot be used."""
    variables = _variables()
    with exiting_on_error():
        _check_together({setting.name: _value(setting, variables.get(setting.name)) for setting in SETTINGS})


@contextmanager
def exiting_on_error(status: int = 1) -> Iterator[None]:
    """End the process for a value that cannot be used, with one line in the log, of whatever form that has."""
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
    """Parse the settings in a Flask configuration, fill in the defaults, and set what Flask derives from them.

    Raises InvalidSetting, which names the key, for a value that cannot be used.
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
        raise InvalidSetting(f"{PREFIX}_WEBHOOK_SECRET must be set, since {PREFIX}_WEBHOOK_HOSTS is")


def of_captioner(config: Mapping[str, Any]) -> dict[str, Any]:
    """The CAPTIONER_ settings as keyword arguments of the captioner's `Configuration`."""
    prefix = "CAPTIONER_"
    names = [setting.name for setting in SETTINGS if setting.name.startswith(prefix)]
    return {name.removeprefix(prefix).lower(): config[name] for name in names}


def data_folder(config: Mapping[str, Any], instance_folder: str) -> Path:
    """Where what has no place of its own is kept: beside the SQLite file, or in the instance folder."""
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
        instead_of = "" if setting.secret else f", not {str(given)!r}"
        raise InvalidSetting(f"{PREFIX}_{setting.name} must be {error}{instead_of}") from None


def _warn_of_misspelt(names: Iterable[str]) -> None:
    """Log a name that is almost a setting's. Not an error: orchestrators invent variables of their own."""
    known = [setting.name for setting in SETTINGS]
    for name in sorted(names):
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            log.warning("%s_%s is not a setting. Did you mean %s_%s?", PREFIX, name, PREFIX, meant)
