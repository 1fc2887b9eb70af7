"""The expected errors, and the HTTP status of each.

FlaskappError
├── InvalidSetting             at start only: the value of a setting is invalid
├── UnusableCheckpoint         at load only: files of a model are missing or not supported
├── UsernameTaken              command line only: the name is saved already
├── UnknownUsername            command line only: the name is not saved
├── TokenExists                command line only: an API token has this name already
├── UnknownToken               command line only: no API token has this name
├── MalformedJSON              400
├── OversizedJSON              413
├── MalformedForm              400  truncated, or with a part without a name
├── OversizedForm              413
├── UnsupportedCoding          415  a compressed body, or a part in base64
├── WrongPassword              401
├── WrongToken                 401  an API token that is unknown, revoked or expired
├── UnknownClient              403  no login is required, and the proxy is not trusted
├── UnknownJob                 404  no job of this client has this id
├── UnknownModel               404  the server has another model
├── LoginRequired              401  with WWW-Authenticate
├── UnsupportedImageFormat     415  not JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF
├── UnreadableImage            422  a known format, but broken, truncated or too large
├── InvalidGeneration          422  a generation setting is invalid for the model or with the others
├── NotFetched                 422  the URL of an image is not allowed, or does not answer
├── UnreadableUpload           422  the files of a job cannot be unpacked, or are too many
├── KeyReused                  409  the Idempotency-Key belongs to another job
├── TooManyAttempts            429  rate limit of a client; retry after `retry_after` seconds
│   └── QuotaExceeded               quota of jobs or images of a client
├── DeadlineExceeded           504  the captions were not ready in time
├── ClientLeft                 504  the client disconnected
└── Unavailable                503  retry after `retry_after` seconds
    ├── DatabaseUnavailable
    ├── BrokerUnavailable           jobs cannot be sent to workers
    ├── BlobStoreUnavailable        images of jobs cannot be stored or read
    ├── CaptionerUnavailable        the model is not loaded, or has stopped
    │   ├── EngineLost              the engine process ended during the request
    │   └── ModelUnavailable        the hub cannot deliver the model now
    │       └── HubUnreachable      the hub does not answer
    ├── CaptionFailed               the model failed for this image only
    ├── MetricsUnavailable          the workers' metrics cannot be aggregated
    └── TooBusy                     a queue is full, or the wait was too long
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType


class FlaskappError(Exception):
    """Base class. Clients see its text: no path, no password, no trace."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: int | None = None  # seconds
    headers: Mapping[str, str] = MappingProxyType({})  # headers of the response


class InvalidSetting(FlaskappError):
    pass


class UnusableCheckpoint(FlaskappError):
    pass


class UsernameTaken(FlaskappError):
    pass


class UnknownUsername(FlaskappError):
    pass


class TokenExists(FlaskappError):
    pass


class UnknownToken(FlaskappError):
    pass


class MalformedJSON(FlaskappError):
    status = HTTPStatus.BAD_REQUEST


class OversizedJSON(FlaskappError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class MalformedForm(FlaskappError):
    status = HTTPStatus.BAD_REQUEST


class OversizedForm(FlaskappError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedCoding(FlaskappError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    headers = MappingProxyType({"Accept-Encoding": "identity"})  # RFC 9110, section 12.5.3


class WrongPassword(FlaskappError):
    status = HTTPStatus.UNAUTHORIZED


class WrongToken(FlaskappError):
    status = HTTPStatus.UNAUTHORIZED


class LoginRequired(FlaskappError):
    status = HTTPStatus.UNAUTHORIZED


class UnsupportedImageFormat(FlaskappError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class UnreadableImage(FlaskappError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class InvalidGeneration(FlaskappError):
    """The value of the generation setting `field` is invalid for the model, or with the other settings."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownClient(FlaskappError):
    status = HTTPStatus.FORBIDDEN


class UnknownJob(FlaskappError):
    status = HTTPStatus.NOT_FOUND


class NotFetched(FlaskappError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UnknownModel(FlaskappError):
    status = HTTPStatus.NOT_FOUND


class UnreadableUpload(FlaskappError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class KeyReused(FlaskappError):
    status = HTTPStatus.CONFLICT


class TooManyAttempts(FlaskappError):
    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(TooManyAttempts):
    pass


class DeadlineExceeded(FlaskappError):
    status = HTTPStatus.GATEWAY_TIMEOUT


class ClientLeft(FlaskappError):
    status = HTTPStatus.GATEWAY_TIMEOUT


class Unavailable(FlaskappError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: int | None = 5


class DatabaseUnavailable(Unavailable):
    pass


class BrokerUnavailable(Unavailable):
    pass


class BlobStoreUnavailable(Unavailable):
    pass


class CaptionerUnavailable(Unavailable):
    retry_after: int | None = 60  # a model that cannot be loaded needs the operator


class EngineLost(CaptionerUnavailable):
    retry_after: int | None = 5  # the engine restarts within seconds


class ModelUnavailable(CaptionerUnavailable):
    """`retry_after` is None if the hub did not name a time."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else math.ceil(retry_after)


class HubUnreachable(ModelUnavailable):
    pass


class CaptionFailed(Unavailable):
    pass


class MetricsUnavailable(Unavailable):
    retry_after = 60  # only a restart with more shared memory helps


class TooBusy(Unavailable):
    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)
