"""Rate limits by client address: of calls of `/login/`, and of wrong passwords and API tokens at any endpoint."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response
from flask_limiter import Limiter, RateLimitExceeded
from limits.storage import Storage, storage_from_string
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskapp.api.client_addresses import client_address
from flaskapp.api.errors import answer_error
from flaskapp.errors import TooManyAttempts
from flaskapp.image_quota import ImageQuota
from flaskapp.login_guard import LoginGuard
from flaskapp.rate_counters import RateCounters
from flaskapp.setting_values import OFF
from flaskapp.shared_counters import SHARED

# Seconds. Parameters of the URL take precedence.
REDIS_TIMEOUTS: dict[str, str | int] = {"socket_connect_timeout": 1, "socket_timeout": 1}
TOO_MANY_ATTEMPTS = "too many attempts from this address"


def init_app(app: Flask, login: Blueprint, protected: list[Blueprint]) -> None:
    """Limit the login blueprint, and the password and token checks of the protected blueprints.

    The checks are `extensions["check_login"]`, which takes a username and a password, and `extensions["check_token"]`,
    which returns the name of an API token.
    """
    if app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=app.config["TRUSTED_PROXIES"], x_proto=0)  # type: ignore[method-assign]
    limiter = _make_limiter(app.config["RATE_LIMIT_STORAGE_URL"])
    known_clients = _make_storage(app.config["RATE_LIMIT_STORAGE_URL"])
    counters = RateCounters(lambda: limiter.limiter)
    guard = LoginGuard(app.config["RATE_LIMIT_USERNAME"], counters, known_clients)
    accounts, check_token = app.extensions["accounts"], app.extensions["tokens"].check

    def check_login(username: str, password: str) -> None:
        """Check the login of this request. The limit by address has been checked before."""
        client = client_address()
        if not accounts.remembers(client, username, password):
            guard.admit(client, username, lambda: accounts.check(username, password))
            accounts.remember(client, username, password)

    if app.config["RATE_LIMIT_LOGIN"] != OFF:
        limiter.limit(app.config["RATE_LIMIT_LOGIN"])(login)
    if app.config["RATE_LIMIT_FAILURES"] != OFF:
        limit = limiter.shared_limit(app.config["RATE_LIMIT_FAILURES"], "failures", deduct_when=_is_unauthorized)
        limit(login)
        check_login, check_token = limit(check_login), limit(check_token)
    app.extensions["check_login"], app.extensions["check_token"] = check_login, check_token
    app.extensions["login_guard"] = guard
    app.extensions["image_quota"] = ImageQuota(app.config["RATE_LIMIT_IMAGES"], counters)
    limiter.init_app(app)
    _run_only_for(app, [login, *protected] if app.config["REQUIRE_LOGIN"] else [login])
    app.register_error_handler(RateLimitExceeded, _answer)


def _make_limiter(storage_url: str) -> Limiter:
    """Make a limiter that counts in this process while its storage is down, and never fails a request."""
    return Limiter(
        client_address,
        storage_uri=storage_url,
        storage_options=_options(storage_url),
        in_memory_fallback_enabled=storage_url != SHARED,
        swallow_errors=True,
    )


def _make_storage(url: str) -> Storage:
    storage = storage_from_string(url, **_options(url))
    assert isinstance(storage, Storage)  # `settings` rejects asynchronous storages
    return storage


def _options(storage_url: str) -> dict[str, str | int]:
    return REDIS_TIMEOUTS if storage_url.startswith("redis") else {}


def _run_only_for(app: Flask, blueprints: list[Blueprint]) -> None:
    """Move the limiter's hooks from the application to these blueprints.

    The hooks make a light request take 1.7 times as long, even without a limit.
    """
    for hooks in (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs):
        everywhere: dict[Any, list[Any]] = hooks
        hook = everywhere[None].pop()
        for blueprint in blueprints:
            everywhere.setdefault(blueprint.name, []).insert(0, hook)


def _is_unauthorized(response: Response) -> bool:
    return response.status_code == HTTPStatus.UNAUTHORIZED


def _answer(error: RateLimitExceeded) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Retry-After is the whole period of the limit: asking the storage for the rest of it could fail."""
    return answer_error(TooManyAttempts(TOO_MANY_ATTEMPTS, error.limit.limit.get_expiry()))
