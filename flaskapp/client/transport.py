"""HTTP requests to the server: time-outs, retries and errors."""

import re
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from flaskapp.client.errors import ClientError, ServerUnreachable, TimedOut, UnexpectedAnswer, refusal

Answer = TypeVar("Answer")
Timeout = float | tuple[float, float]

MAX_RETRY_AFTER = 30  # seconds: no retry if `Retry-After` is longer
CONNECTIONS = 32  # in the pool that threads share


class Transport:
    """Sends requests. Thread-safe."""

    def __init__(
        self, url: str, auth: tuple[str, str] | None, token: str | None, timeout: Timeout, retries: int
    ) -> None:
        parts = split(url)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self.auth = auth or _user_in(parts)
        if token is not None and self.auth is not None:
            raise ValueError("give a login or a token, not both")
        authorize = _authorization(self.auth, token)
        self._timeout = timeout
        self._retrying = _session(authorize, RetryPolicy(retries))
        self._once = _session(authorize, Retry(0, read=False))

    def close(self) -> None:
        self._retrying.close()
        self._once.close()

    def ask(self, method: str, path: str, read: Callable[[Any], Answer], **arguments: Any) -> Answer:
        """Send a request, and return `read` of the JSON answer."""
        response = self.send(method, path, **arguments)
        try:
            return read(response.json())
        except (ValueError, LookupError, TypeError, AttributeError):
            raise unexpected(response) from None

    def send(
        self, method: str, path: str, *, once: bool = False, expected: int = 200, **arguments: Any
    ) -> requests.Response:
        """Send a request, without retries if `once`. Raises ClientError for a status other than `expected`."""
        session = self._once if once else self._retrying
        headers = arguments.pop("headers", {})
        if once:  # the server may close a kept connection just when it is used again
            headers["Connection"] = "close"
        try:
            response = session.request(
                method,
                self.url + path,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,  # a redirect would send the body and the login to another address
                **arguments,
            )
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if _is_timeout(error):
                raise TimedOut(f"{self.url} did not answer in time") from error
            raise ServerUnreachable(f"{self.url} cannot be reached: {_reason(error)}") from error
        except (requests.RequestException, HTTPError) as error:  # requests passes some errors of urllib3 on
            raise ClientError(f"{self.url} cannot be asked: {error}") from error
        if response.status_code != expected:
            raise _error_of(response)
        return response


class RetryPolicy(Retry):
    """Retries after a lost connection, 429 and 503, at the time of `Retry-After`.

    Does not retry after a time-out, because the server may still be working. The answer to the last retry is returned,
    and so is one with a `Retry-After` beyond MAX_RETRY_AFTER.
    """

    def __init__(self, total: int, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "allowed_methods": None,  # all methods
            "status_forcelist": (429, 503),
            "backoff_factor": 0.25,
            "backoff_jitter": 0.25,
            "raise_on_status": False,
        }
        super().__init__(total, **defaults | options)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            return super().get_retry_after(response)
        except InvalidHeader:
            return None

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *rest: Any,
        **named: Any,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        if response is not None and (self.get_retry_after(response) or 0) > MAX_RETRY_AFTER:
            raise MaxRetryError(named["_pool"], url or "", None)
        return super().increment(method, url, response, error, *rest, **named)


class BearerAuth(AuthBase):
    def __init__(self, token: str) -> None:
        """Raise ValueError for a token that cannot be in a header. The message does not quote it."""
        if not re.fullmatch("[!-~]+", token):
            raise ValueError("the token must be ASCII without spaces")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _authorization(auth: tuple[str, str] | None, token: str | None) -> AuthBase | None:
    if token is not None:
        return BearerAuth(token)
    # As bytes: the error for a str beyond Latin-1 would quote the password.
    return auth and HTTPBasicAuth(*(text.encode(errors="replace") for text in auth))


def _session(auth: AuthBase | None, retries: Retry) -> requests.Session:
    session = requests.Session()
    session.auth = auth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retries))
    return session


def split(url: str) -> SplitResult:
    """Parse a URL. Raises ValueError, which never quotes the URL: it may contain a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the url must be that of a server, such as http://localhost:8000")
    return parts


def _user_in(url: SplitResult) -> tuple[str, str] | None:
    return (unquote(url.username), unquote(url.password or "")) if url.username else None


def _is_timeout(error: requests.RequestException) -> bool:
    """Return whether an error is a time-out. In the middle of an answer, it arrives as a lost connection."""
    return isinstance(error, requests.Timeout) or any(isinstance(each, ReadTimeoutError) for each in error.args)


def _reason(error: requests.RequestException) -> str:
    """Return the innermost cause, without the addresses and object names of the outer errors."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (each for each in inner.args if isinstance(each, Exception)), inner.__cause__
        )
        if not isinstance(deeper, Exception):
            break
        inner = deeper
    return str(getattr(inner, "strerror", None) or inner)


def _error_of(response: requests.Response) -> ClientError:
    try:
        payload = response.json()
        retry_after = response.headers.get("Retry-After", "")
        seconds = float(retry_after) if retry_after.isdecimal() else None
        if payload["code"] == response.status_code:
            return refusal(response.status_code, payload, seconds)
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return unexpected(response)


def unexpected(response: requests.Response) -> UnexpectedAnswer:
    """Create the exception for an answer that is not flaskapp's."""
    kind = response.headers.get("Content-Type", "no content type")
    where = f", to {response.headers['Location']}" if "Location" in response.headers else ""
    message = f"the answer {response.status_code} {response.reason} ({kind}){where} is not one of flaskapp's"
    return UnexpectedAnswer(message, response.status_code)
