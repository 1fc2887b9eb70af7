"""The endpoints of the server as methods."""

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
    """A client of the server at `url`, for `with` or until it is closed; threads may share it.

    `auth` are a username and a password, or `token` is an API token. `timeout` are the seconds for connecting and then
    for each silence of the server (one number for both). After a lost connection, 429 and 503 a request is sent again,
    up to `retries` times and when the server's `Retry-After` says, unless that is in more than 30 seconds; a login
    never is.

    It has a method for every endpoint of the course, for caption jobs and for the probes. `/image-to-text` is for
    `huggingface_hub`'s own client. All methods raise ClientError, see `flaskapp.client.errors`.
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
        """Raises ValueError for a URL or a token that cannot be one, and for a token beside a login."""
        self._transport = Transport(url, auth, token, timeout, retries)
        self._ask = self._transport.ask

    def __repr__(self) -> str:
        auth = self._transport.auth
        return f"Client({self.url!r}{f', username={auth[0]!r}' if auth else ''})"

    @property
    def url(self) -> str:
        """The server's address, without a login."""
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
        """Is it there?"""
        return self._ask("GET", "/", lambda answer: Status(answer["message"], answer["status-code"]))

    def live(self) -> Status:
        """Does it answer?"""
        return self._ask("GET", "/livez", lambda answer: Status(answer["message"], answer["status-code"]))

    def ready(self) -> Model:
        """The model that captions. Raises TooBusy, also at the last try, if it or the database is not ready."""
        return self._ask("GET", "/readyz", lambda answer: _model(answer["model"]))

    def item(self, item_id: int, q: str | None = None) -> Item:
        """Echo an integer of the path."""
        return self._ask(
            "GET", f"/items/{item_id}", lambda answer: Item(answer["item_id"], answer.get("q")), params={"q": q}
        )

    def restricted_item(self, item_id: Literal["alexnet", "resnet", "lenet"]) -> str:
        """Echo a name of the path that must be one of three."""
        return self._ask("GET", f"/restric_items/{quote(item_id, safe='')}", lambda answer: str(answer["item_id"]))

    def query_item(self, item_id: int) -> int:
        """Echo an integer of the query."""
        return self._ask("GET", "/query_items", lambda answer: int(answer["item_id"]), params={"item_id": item_id})

    def login(self, username: str, password: str) -> str:
        """Save a login, or check one that is saved: LoginRefused. It is sent once, whatever happens."""
        body = {"username": username, "password": password}
        return self._ask("POST", "/login/", str, json=body, once=True)

    def is_email(self, text: str) -> bool:
        """Whether a text is an e-mail address."""
        return self._ask("GET", "/text_model/", lambda answer: bool(answer["is_email"]), params={"data": text})

    def is_email_at(self, email: str, domain_match: Literal["gmail", "hotmail"]) -> EmailCheck:
        """Whether a text is an e-mail address, and one at a provider."""
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
        """Resize an image to exactly so many pixels. `format` is the answer's; by default the image's own, or JPEG."""
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
        """Caption an image: a path, bytes, or a binary file, which is sent from where it stands."""
        return self.caption_many([image], **settings)

    def caption_many(self, images: Iterable[ImageSource], **settings: Unpack[Generation]) -> Captions:
        """Caption several images in one request: if one is refused, all are. Files are read while they are sent."""
        return self._caption(images, settings, _captions)

    def caption_partial(self, images: Iterable[ImageSource], **settings: Unpack[Generation]) -> PartialCaptions:
        """As `caption_many`, but an image that the server cannot read fails alone: its result is an ImageError.

        Raises RequestRefused, as `caption_many`, for what is wrong with the whole request, such as the settings.
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
