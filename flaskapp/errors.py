"""Everything that can go wrong on purpose, and the status that tells a client of it.

FlaskappError
├── InvalidSetting             at start only: a variable's value cannot be used
├── UnusableCheckpoint         at load only: a model's files lack something, or are not served
├── UsernameTaken              at the command line only: the name is saved already
├── UnknownUsername            at the command line only: the name is not saved
├── TokenExists                at the command line only: there is an API token of this name
├── UnknownToken               at the command line only: there is no API token of this name
├── MalformedJSON              400
├── OversizedJSON              413
├── MalformedForm              400  cut short, or a part of it without a name
├── OversizedForm              413
├── UnsupportedCoding          415  a compressed body, or a part in base64
├── WrongPassword              401
├── WrongToken                 401  an API token that is unknown, revoked or expired
├── UnknownClient              403  without logins, and behind a proxy that is not trusted
├── UnknownJob                 404  there is none with this id, or it is another's
├── LoginRequired              401  with the headers that name the ways to log in
├── UnsupportedImageFormat     415  not JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF
├── UnreadableImage            422  a known format, but broken, cut short or too large
├── InvalidGeneration          422  a generation setting that cannot be obeyed; names it
├── UnreadableUpload           422  the images of a job cannot be told apart, or are too many
├── KeyReused                  409  an Idempotency-Key that belongs to another job
├── TooManyAttempts            429  one client too often; again after `retry_after` seconds
│   └── QuotaExceeded               too many caption jobs or images of one client, waiting or in a time
├── DeadlineExceeded           504  the captions were not ready in time
├── ClientLeft                 504  which no client reads
└── Unavailable                503  come back later, after `retry_after` seconds
    ├── DatabaseUnavailable
    ├── BrokerUnavailable           jobs cannot be handed to workers
    ├── BlobStoreUnavailable        the images of jobs cannot be stored or read
    ├── CaptionerUnavailable        no model, or one that stopped
    │   ├── EngineLost              the process that has the model ended meanwhile
    │   └── ModelUnavailable        the hub does not offer it now: another try may succeed
    │       └── HubUnreachable      and there was no answer at all
    ├── CaptionFailed               the model failed at this image, and only at this one
    ├── MetricsUnavailable          the workers cannot add up what they counted
    └── TooBusy                     too many images or passwords wait, or too long
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType


class FlaskappError(Exception):
    """Base of all. Its text is meant for the client: no path, no password, no trace."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: int | None = None  # seconds after which another try makes sense
    headers: Mapping[str, str] = MappingProxyType({})  # of the answer


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
    """The generation setting `field` has a value that does not go with the others or with the model."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownClient(FlaskappError):
    status = HTTPStatus.FORBIDDEN


class UnknownJob(FlaskappError):
    status = HTTPStatus.NOT_FOUND


class NotFetched(FlaskappError):
    """A client's address of a file that is not fetched, or cannot be."""

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
    retry_after: int | None = 60  # a model that could not be loaded needs its operator


class EngineLost(CaptionerUnavailable):
    retry_after: int | None = 5  # a model that was loaded once is soon back


class ModelUnavailable(CaptionerUnavailable):
    """`retry_after` is None where the hub did not say when to try again."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else math.ceil(retry_after)


class HubUnreachable(ModelUnavailable):
    pass


class CaptionFailed(Unavailable):
    pass


class MetricsUnavailable(Unavailable):
    retry_after = 60  # only a restart, with more room, can help


class TooBusy(Unavailable):
    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)
