"""Parse the texts of settings. Each function raises ValueError, which describes valid texts, for an invalid one."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import get_filesystem_class, split_protocol
from limits import parse_many
from limits.storage import Storage, storage_from_string
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flaskapp import broker_urls
from flaskapp.shared_counters import SHARED

MAX_WEBP_SIDE = 16_383  # pixels
MAX_DIGITS = 30  # of a whole number, with leading zeros
OFF = "off"
MOST_IN_RATE = 1_000_000_000  # fits into 32 bits
LONGEST_RATE = 366 * 86_400  # seconds
PROCESS_LOCAL = "memory"  # URL scheme of kombu, fsspec and limits; each process would have its own


def whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.strip()
        # Python converts no more than 4300 digits, and takes long for that.
        number = int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else None
        if number is None or not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    return parse


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
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
    except (ArgumentError, ImportError, ValueError):  # unknown dialect, missing driver, invalid port
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
    if any(part.partition(":")[0].lower() == PROCESS_LOCAL for part in text.split(";")):
        raise ValueError("a broker that all processes share, such as redis://host:6379/0 or filesystem:///folder")
    if not is_usable and text.startswith("sentinel://"):
        raise ValueError("a URL such as sentinel://host:26379/0?master_name=mymaster, with the master's name")
    if not is_usable:
        raise ValueError(
            "a Celery broker's URL such as redis://host:6379/0, its driver installed, or filesystem:///folder"
        )
    return text


def blob_store(text: str) -> str:
    try:
        is_usable = bool(text.strip())
        protocol = split_protocol(text)[0]
        get_filesystem_class(protocol)
    except (ImportError, ValueError):
        is_usable = False
    if not is_usable:
        raise ValueError("a folder or an fsspec URL such as s3://bucket/folder, its driver installed")
    if protocol == PROCESS_LOCAL:
        raise ValueError("a store that all processes share, such as a folder or s3://bucket/folder")
    return text


def rate(text: str) -> str:
    try:
        is_usable = text == OFF or all(
            0 < limit.amount <= MOST_IN_RATE and limit.get_expiry() <= LONGEST_RATE for limit in parse_many(text)
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"a rate such as 30/minute, of at most {MOST_IN_RATE:,} in at most a year, or {OFF}")
    return text


def storage_url(text: str) -> str:
    try:
        is_usable = isinstance(storage_from_string(text), Storage)
    except Exception:  # each driver has errors of its own, and some connect here
        is_usable = False
    if text.partition(":")[0].lower() == PROCESS_LOCAL:
        raise ValueError(f"{SHARED} or a storage that all processes share, such as redis://host:6379")
    if not is_usable:
        raise ValueError(f"{SHARED} or a storage URL such as redis://host:6379, its driver installed")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Parse origins as browsers send them: in lower case, without a path and without the scheme's default port."""
    listed = tuple(each.strip() for each in text.split(","))
    if listed != ("*",) and not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]+", each) for each in listed):
        raise ValueError("* or origins such as https://app.example, in lower case, without a path")
    return listed
