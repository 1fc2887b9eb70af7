"""flask-smorest's Blueprint, with decorators for the locations of `arguments` and for documented errors."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar

import flask_smorest
import marshmallow as ma
from flask import Flask

from flaskapp.api import error_docs
from flaskapp.api.arguments import Parser

View = TypeVar("View", bound=Callable[..., Any])
Schema = type[ma.Schema] | ma.Schema

NONE: Mapping[Any, str] = MappingProxyType({})
IN_THE_URL = ("path", "query", "credentials")
TEXT = {"type": "string"}
BINARY = TEXT | {"format": "binary"}
IN_THE_QUERY = "For clients that send neither JSON nor a form. Do not use it: proxies log URLs."


class Blueprint(flask_smorest.Blueprint):
    ARGUMENTS_PARSER = Parser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING = flask_smorest.Blueprint.DEFAULT_LOCATION_CONTENT_TYPE_MAPPING | {
        "multipart": "multipart/form-data",
        "form_or_json": "multipart/form-data",
        "inputs": "application/json",
        "credentials": "application/json",
    }
    error_schema: type[ma.Schema] = error_docs.Error

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._document_errors)

    def arguments(self, schema: Schema, *, location: str = "json", **options: Any) -> Callable[[View], View]:
        """Extend flask-smorest's decorator: make the schema once, and document 414 for arguments in the URL.

        From a class, webargs would make a schema for each request.
        """
        instance = schema() if isinstance(schema, type) else schema
        take = super().arguments(instance, location=location, **options)
        document = self.errors(*[HTTPStatus.REQUEST_URI_TOO_LONG] * (location in IN_THE_URL))

        def decorate(view: View) -> View:
            taking: View = document(take(view))
            apidoc = taking._apidoc  # type: ignore[attr-defined]
            apidoc["inputs"] = [(location, instance), *apidoc.get("inputs", [])]
            return taking

        return decorate

    def form(
        self, schema: Schema, *, json_schema: type[ma.Schema] | None = None, content_types: Mapping[str, str] = NONE
    ) -> Callable[[View], View]:
        """Pass the parts of a multipart form to the view, or the members of JSON if there is a `json_schema`.

        `json_schema` and `content_types`, the media types of parts, are for the OpenAPI document.
        """
        content: dict[str, Any] = {}
        if content_types:
            encoding = {name: {"contentType": types} for name, types in content_types.items()}
            content["multipart/form-data"] = {"encoding": encoding}
        if json_schema:
            content["application/json"] = {"schema": json_schema}
        return self._body(schema, "form_or_json" if json_schema else "multipart", {"content": content})

    def file_or_json(
        self, schema: Schema, *, media_types: Sequence[str], example: Mapping[str, Any]
    ) -> Callable[[View], View]:
        """Pass the body to the view as `inputs`, or the members of JSON. The rest is for the OpenAPI document."""
        content = {"application/json": {"example": example}} | {name: {"schema": BINARY} for name in media_types}
        return self._body(schema, "inputs", {"content": content})

    def credentials(self, schema: type[ma.Schema]) -> Callable[[View], View]:
        """Pass the members of JSON or the fields of a form to the view. Without a body, pass the query string."""
        query = {"in": "query", "deprecated": True, "description": IN_THE_QUERY, "schema": TEXT}
        parameters = [{"name": name} | query for name in schema().fields]
        body = {"required": False, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
        return self._body(schema, "credentials", body, parameters=parameters)

    def _body(self, schema: Schema, location: str, body: Mapping[str, Any], **docs: Any) -> Callable[[View], View]:
        take = self.arguments(schema, location=location, as_kwargs=True)
        document: Callable[[View], View] = self.doc(requestBody=body, **docs)
        return lambda view: document(take(view))

    def file(
        self,
        description: str,
        media_types: Sequence[str],
        headers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Callable[[View], View]:
        """Document that an operation answers 200 with a file of one of these media types."""
        content = {type_: {"schema": TEXT if type_.startswith("text/") else BINARY} for type_ in media_types}
        response = {"description": description, "content": content, "headers": headers or {}}
        document: Callable[[View], View] = self.doc(responses={"200": response})
        return document

    def errors(self, *statuses: HTTPStatus, messages: Mapping[HTTPStatus, str] = NONE) -> Callable[[View], View]:
        """Document the errors of an operation, each with an example. `messages` replace those of `error_docs`."""

        def decorate(view: View) -> View:
            for status in statuses:  # without flask-smorest's wrapper, which only carries the documentation
                view._apidoc = self.alt_response(status.value, status.name)(view)._apidoc  # type: ignore[attr-defined]
            if messages:
                view._apidoc["messages"] = messages  # type: ignore[attr-defined]
            return view

        return decorate

    def shape_error(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an error of this blueprint. Subclasses have other shapes."""
        return payload

    def document_error(
        self, payload: dict[str, Any], headers: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Return the OpenAPI response of an error with this payload."""
        status = HTTPStatus(payload["code"])
        is_ours = status is not HTTPStatus.REQUEST_URI_TOO_LONG  # gunicorn answers 414
        example = self.shape_error(payload) if is_ours else payload
        return {
            "description": status.phrase,
            "content": {"application/json": {"schema": self.error_schema, "example": example}},
            "headers": error_docs.HEADERS.get(status, {}) if headers is None else headers,
        }

    def _document_errors(
        self, doc: dict[str, Any], doc_info: dict[str, Any], *, app: Flask, **_: Any
    ) -> dict[str, Any]:
        """Replace each error that is documented by its name with a response that has an example."""
        for status, response in list(doc.get("responses", {}).items()):
            if isinstance(response, str) and status != "default":
                inputs, messages = doc_info.get("inputs", []), doc_info.get("messages", {})
                payload = error_docs.example(HTTPStatus(int(status)), inputs, messages, app.config)
                doc["responses"][status] = self.document_error(payload)
        return doc
