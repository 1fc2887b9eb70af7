"""The client: a method per endpoint."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, Unpack
from urllib.parse import quote

from flaskapp.client.answers import (
    Captions,
    EmailCheck,
    ImageCaptions,
    ImageError,
    Item,
    Model,
    PartialCaptions,
    ResizedImage,
    Score,
    Status,
    texts,
)
from flaskapp.client.generation import Generation
from flaskapp.client.jobs import JobMethods
from flaskapp.client.multipart import Form, ImageSource, listed
from flaskapp.client.transport import Answer, Timeout, Transport, unexpected


class Client(JobMethods):
    """A client of the server at `url`. Use it in a `with` statement, or call `close`. Thread-safe.

    `auth` is a username and a password; `token` is an API token. `timeout` is a pair of seconds, to connect and between
    two reads, or one number for both. A request is retried after a lost connection, 429 or 503, up to `retries` times,
    at the time of the server's `Retry-After` unless that is more than 30 seconds away. A login is never retried.

    There is a method for every endpoint of the course, for caption jobs and for the probes. For `/image-to-text`, use
    `huggingface_hub`. All methods raise ClientError: see `flaskapp.client.errors`.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None = None,
        token: str | None = None,
        timeout: Timeout = (5, 60),
        retries: int = 3,
    ) -> None:
        """Raise ValueError for an invalid URL or token, or for both a login and a token."""
        self._transport = Transport(url, auth, token, timeout, retries)
        self._ask = self._transport.ask

    def __repr__(self) -> str:
        auth = self._transport.auth
        return f"Client({self.url!r}{f', username={auth[0]!r}' if auth else ''})"

    @property
    def url(self) -> str:
        """The server's address, without login."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def status(self) -> Status:
        """Return the answer of `/`."""
        return self._ask("GET", "/", lambda answer: Status(answer["message"], answer["status-code"]))

    def live(self) -> Status:
        """Return the answer of `/livez`: the server process answers requests."""
        return self._ask("GET", "/livez", lambda answer: Status(answer["message"], answer["status-code"]))

    def ready(self) -> Model:
        """Return the model that captions. Raises TooBusy if it or the database is not ready after all retries."""
        return self._ask("GET", "/readyz", lambda answer: _model(answer["model"]))

    def item(self, item_id: int, q: str | None = None) -> Item:
        """Return an integer in the path, and `q`."""
        return self._ask(
            "GET", f"/items/{item_id}", lambda answer: Item(answer["item_id"], answer.get("q")), params={"q": q}
        )

    def restricted_item(self, item_id: Literal["alexnet", "resnet", "lenet"]) -> str:
        """Return a name in the path, which must be one of three."""
        return self._ask("GET", f"/restric_items/{quote(item_id, safe='')}", lambda answer: str(answer["item_id"]))

    def query_item(self, item_id: int) -> int:
        """Return an integer in the query."""
        return self._ask("GET", "/query_items", lambda answer: int(answer["item_id"]), params={"item_id": item_id})

    def login(self, username: str, password: str) -> str:
        """Save a login, or check a saved one. Raises LoginRefused. Never retries."""
        body = {"username": username, "password": password}
        return self._ask("POST", "/login/", str, json=body, once=True)

    def is_email(self, text: str) -> bool:
        """Return whether a text is an e-mail address."""
        return self._ask("GET", "/text_model/", lambda answer: bool(answer["is_email"]), params={"data": text})

    def is_email_at(self, email: str, domain_match: Literal["gmail", "hotmail"]) -> EmailCheck:
        """Return whether a text is an e-mail address, and whether it is one of a provider."""
        body = {"email": email, "domain_match": domain_match}
        return self._ask(
            "POST", "/text_model/", lambda answer: EmailCheck(answer["is_email"], answer["is_domain_match"]), json=body
        )

    def resize(
        self,
        image: ImageSource,
        *,
        width: int = 28,
        height: int = 28,
        format: Literal["jpeg", "png", "webp"] | None = None,
    ) -> ResizedImage:
        """Resize an image to exactly `width` x `height` pixels. By default, keeps the format, or uses JPEG."""
        with Form([image]) as form:
            response = self._transport.send(
                "POST",
                "/cv_model/",
                data=form,
                headers={"Content-Type": form.content_type},
                params={"w": width, "h": height, "format": format},
            )
        kind, _, subtype = response.headers.get("Content-Type", "").partition("/")
        if kind != "image":
            raise unexpected(response)
        return ResizedImage(response.content, subtype)

    def caption(self, image: ImageSource, **settings: Unpack[Generation]) -> Captions:
        """Caption an image: a path, bytes, or a binary file, which is read from its current position."""
        return self.caption_many([image], **settings)

    def caption_many(self, images: Iterable[ImageSource], **settings: Unpack[Generation]) -> Captions:
        """Caption several images in one request. If one of them is refused, all are."""
        return self._caption(images, settings, _captions)

    def caption_partial(self, images: Iterable[ImageSource], **settings: Unpack[Generation]) -> PartialCaptions:
        """Like `caption_many`, but the result of an image that the server cannot read is an ImageError.

        Raises RequestRefused for errors of the whole request, such as wrong settings.
        """
        return self._caption(images, settings, _partial_captions, partial="true")

    def _caption(
        self,
        images: Iterable[ImageSource],
        settings: Generation,
        read: Callable[[int, Any], Answer],
        **texts: str,
    ) -> Answer:
        config = json.dumps(settings) if settings else None
        sources = listed(images)
        with Form(sources, config=config, **texts) as form:
            headers = {"Content-Type": form.content_type}
            return self._ask("POST", "/caption/", partial(read, len(sources)), data=form, headers=headers)


def _captions(images: int, answer: Any) -> Captions:
    results = [_image_captions(result) for result in _results(images, answer)]
    return Captions(str(answer["model"]), results, answer.get("warning"))


def _partial_captions(images: int, answer: Any) -> PartialCaptions:
    results = [
        ImageError(result["input"], str(result["error"])) if "error" in result else _image_captions(result)
        for result in _results(images, answer)
    ]
    return PartialCaptions(str(answer["model"]), results, answer.get("warning"))


def _results(images: int, answer: Any) -> list[Any]:
    results = list(answer["results"])
    if len(results) != images:
        raise ValueError("not a result for each image")
    return results


def _image_captions(result: Any) -> ImageCaptions:
    captions, scores = texts(result["captions"]), None
    if "scores" in result:
        scores = [Score(each["log_probability"], int(each["tokens"])) for each in result["scores"]]
        if len(scores) != len(captions):
            raise ValueError("not a score for each caption")
    return ImageCaptions(result["input"], captions, scores)


def _model(state: Any) -> Model:
    names = "decoder", "reason", "takes_prompt", "defaults", "precision", "precision_reason"
    details = {name: state.get(name) for name in names}
    return Model(str(state["name"]), str(state["message"]), **details)
