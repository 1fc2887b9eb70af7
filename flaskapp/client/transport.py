"""Requests to the server: how long they may take, which of them are tried again, and what its refusals mean."""

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

LONGEST_WAIT = 30  # seconds: a server that says to come back later than that is not waited for
CONNECTIONS = 32  # that are kept for threads to share


class Transport:
    """Threads may share one."""

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
        self._patient = _session(authorize, Patience(retries))
        self._once = _session(authorize, Retry(0, read=False))

    def close(self) -> None:
        self._patient.close()
        self._once.close()

    def ask(self, method: str, path: str, read: Callable[[Any], Answer], **arguments: Any) -> Answer:
        """What `read` makes of the JSON that the server answers."""
        response = self.send(method, path, **arguments)
        try:
            return read(response.json())
        except (ValueError, LookupError, TypeError, AttributeError):
            raise unexpected(response) from None

    def send(
        self, method: str, path: str, *, once: bool = False, expected: int = 200, **arguments: Any
    ) -> requests.Response:
        """The answer, if its status is `expected`. `once`: never send it twice, whatever happens. Or ClientError."""
        session = self._once if once else self._patient
        headers = arguments.pop("headers", {})
        if once:  # an old connection may be closed at the very moment when it is used again
            headers["Connection"] = "close"
        try:
            response = session.request(
                method,
                self.url + path,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,  # it would send the body and the login to another address
                **arguments,
            )
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if _is_timeout(error):
                raise TimedOut(f"{self.url} did not answer in time") from error
            raise ServerUnreachable(f"{self.url} cannot be reached: {_reason(error)}") from error
        except (requests.RequestException, HTTPError) as error:  # some of urllib3's come through requests as they are
            raise ClientError(f"{self.url} cannot be asked: {error}") from error
        if response.status_code != expected:
            raise _refusal(response)
        return response


class Patience(Retry):
    """Tries again after a lost connection, 429 and 503, when `Retry-After` says; not after a timeout: the work goes on.

    What the server answers at the last try, or with a `Retry-After` beyond LONGEST_WAIT, is its answer.
    """

    def __init__(self, total: int, **options: Any) -> None:
        ours: dict[str, Any] = {
            "allowed_methods": None,  # any
            "status_forcelist": (429, 503),
            "backoff_factor": 0.25,
            "backoff_jitter": 0.25,
            "raise_on_status": False,
        }
        super().__init__(total, **ours | options)

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
        if response is not None and (self.get_retry_after(response) or 0) > LONGEST_WAIT:
            raise MaxRetryError(named["_pool"], url or "", None)
        return super().increment(method, url, response, error, *rest, **named)


class BearerAuth(AuthBase):
    def __init__(self, token: str) -> None:
        """Raises ValueError, which does not quote the token, for one that no header can hold."""
        if not re.fullmatch("[!-~]+", token):
            raise ValueError("the token must be ASCII without spaces")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _authorization(auth: tuple[str, str] | None, token: str | None) -> AuthBase | None:
    if token is not None:
        return BearerAuth(token)
    # As bytes: in a text beyond Latin-1 the error would quote it.
    return auth and HTTPBasicAuth(*(text.encode(errors="replace") for text in auth))


def _session(auth: AuthBase | None, retries: Retry) -> requests.Session:
    session = requests.Session()
    session.auth = auth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retries))
    return session


def split(url: str) -> SplitResult:
    """Raises ValueError, which never quotes what may be a password."""
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
    """Also one amid the answer's body, which arrives as a lost connection."""
    return isinstance(error, requests.Timeout) or any(isinstance(each, ReadTimeoutError) for each in error.args)


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, without the addresses and objects that those around it name."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (each for each in inner.args if isinstance(each, Exception)), inner.__cause__
        )
        if not isinstance(deeper, Exception):
            break
        inner = deeper
    return str(getattr(inner, "strerror", None) or inner)


def _refusal(response: requests.Response) -> ClientError:
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
    """What to raise for an answer that this application does not give."""
    kind = response.headers.get("Content-Type", "no content type")
    where = f", to {response.headers['Location']}" if "Location" in response.headers else ""
    message = f"the answer {response.status_code} {response.reason} ({kind}){where} is not one of flaskapp's"
    return UnexpectedAnswer(message, response.status_code)
