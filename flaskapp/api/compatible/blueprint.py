"""Blueprint of the APIs of other servers: JSON bodies that contain files, and errors in the shape of each API."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NoReturn

import marshmallow as ma
from flask import Request, Response, json
from webargs import core

from flaskapp.api import strict_json
from flaskapp.api.arguments import Parser, reject_coding
from flaskapp.api.blueprint import View
from flaskapp.api.compatible import tensors
from flaskapp.api.errors import messages
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.errors import MalformedJSON

# Answered as 400, because these APIs do not use them.
AS_BAD_REQUEST = (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

TEXT = {"type": "string"}
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}}  # a server-sent event, as in OpenAPI 3.2

Reshape = Callable[[HTTPStatus, str, str | None], dict[str, Any]]


class CompatibleParser(Parser):
    """Adds the locations `any_json` and `tensors`: JSON that may contain files, with any content type.

    `curl -d`, in examples of these APIs, sends the content type of a form.
    """

    __location_map__ = Parser.__location_map__ | {"any_json": "load_any_json", "tensors": "load_tensors"}
    DEFAULT_UNKNOWN_BY_LOCATION = Parser.DEFAULT_UNKNOWN_BY_LOCATION | {"any_json": ma.EXCLUDE, "tensors": ma.EXCLUDE}

    def load_any_json(self, req: Request, schema: ma.Schema) -> Any:
        reject_coding(req)
        body = req.get_data()
        return strict_json.loads_file(body) if body else core.missing

    def load_tensors(self, req: Request, schema: ma.Schema) -> Any:
        """Return the JSON, with the raw bytes behind it as `data` of the inputs that they belong to."""
        reject_coding(req)
        try:
            head, raw = tensors.split(req.get_data(), req.headers.get(tensors.HEADER))
            message = strict_json.loads_file(head)
            tensors.attach_raw(message, raw)
        except ValueError as error:
            raise MalformedJSON(str(error)) from error
        return message

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **options: Any) -> NoReturn:
        """Name each location `json`: clients do not know the locations of this parser."""
        if isinstance(error.messages, dict):
            error.messages = {"json": next(iter(error.messages.values()))}
        super().handle_error(error, req, schema, **options)


class CompatibleBlueprint(ProtectedBlueprint):
    """A blueprint whose errors have the shape of `error_schema`.

    `reshape` makes the body of an error from its status, its message, and the invalid field, such as
    `messages.0.content`.
    """

    ARGUMENTS_PARSER = CompatibleParser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING = ProtectedBlueprint.DEFAULT_LOCATION_CONTENT_TYPE_MAPPING | {
        "any_json": "application/json",
        "tensors": "application/json",
    }

    def __init__(
        self, name: str, import_name: str, *, error_schema: type[ma.Schema], reshape: Reshape, **options: Any
    ) -> None:
        super().__init__(name, import_name, **options)
        self.error_schema, self._reshape = error_schema, reshape
        self._prepare_doc_cbks.append(self._document)
        self.after_request(self.reshape_error)

    def json_body(self, schema: type[ma.Schema], *, example: Mapping[str, Any]) -> Callable[[View], View]:
        """Pass the members of JSON of any content type to the view. Swagger UI and Postman send the `example`."""
        return self._body(schema, "any_json", {"content": {"application/json": {"example": example}}})

    def tensors(self, schema: type[ma.Schema], *, example: Mapping[str, Any]) -> Callable[[View], View]:
        """As `json_body`, with the raw bytes behind the JSON as `data` of the inputs that they belong to."""
        return self._body(schema, "tensors", {"content": {"application/json": {"example": example}}})

    @staticmethod
    def answers_also(media_type: str, schema: Mapping[str, Any] = TEXT) -> Callable[[View], View]:
        """Document a second media type of the answer, which the request can ask for."""

        def decorate(view: View) -> View:
            view._apidoc = {**getattr(view, "_apidoc", {}), "other": (media_type, schema)}  # type: ignore[attr-defined]
            return view

        return decorate

    def _document(self, doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Document the shape of errors, and the second media type of the answer."""
        if "other" in doc_info:
            media_type, schema = doc_info["other"]
            doc["responses"][200]["content"][media_type] = {"schema": schema}
        responses = doc["responses"]
        responses["default"] = {
            "description": "Any other error",
            "content": {"application/json": {"schema": self.error_schema}},
        }
        for status in AS_BAD_REQUEST:
            if (found := responses.pop(status.value, None)) is not None:
                responses[HTTPStatus.BAD_REQUEST.value] = found | {"description": HTTPStatus.BAD_REQUEST.phrase}
        return doc

    def shape_error(self, payload: dict[str, Any]) -> dict[str, Any]:
        found = [(".".join(path[1:]), message) for path, message in messages(payload)]
        sentence = "; ".join(f"{path}: {message}" if path else message for path, message in found)
        return self._reshape(_status(payload["code"]), sentence, found[0][0] or None)

    def reshape_error(self, response: Response) -> Response:
        """Rewrite an error response into the shape of the API."""
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            response.set_data(json.dumps(self.shape_error(response.get_json())))
            response.status_code = _status(response.status_code)
        return response


def _status(code: int) -> HTTPStatus:
    status = HTTPStatus(code)
    return HTTPStatus.BAD_REQUEST if status in AS_BAD_REQUEST else status
