"""What every resource is made with: flask-smorest's Blueprint, with the four locations of arguments that it lacks."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import flask
import flask_smorest
import marshmallow as ma
from flask import Flask, Request
from webargs import core
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.datastructures import CombinedMultiDict
from werkzeug.exceptions import UnsupportedMediaType

from flaskapp.api import error_docs, strict_json
from flaskapp.api.forms import FORMS
from flaskapp.api.image_fields import Base64File
from flaskapp.errors import UnsupportedCoding

View = TypeVar("View", bound=Callable[..., Any])

NO_MESSAGES: Mapping[HTTPStatus, str] = MappingProxyType({})
IN_THE_ADDRESS = ("path", "query", "credentials")
NO_CODING = ("", "identity")
TEXT = {"type": "string"}
BINARY = TEXT | {"format": "binary"}


class Parser(FlaskParser):
    """Adds the locations `multipart`, `form_or_json`, `credentials` and `inputs`; their methods say what is in each."""

    __location_map__ = FlaskParser.__location_map__ | {
        "multipart": "load_multipart",
        "credentials": "load_credentials",
        "inputs": "load_inputs",
        "form_or_json": "load_form_or_json",
    }
    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {
        "multipart": ma.RAISE,
        "credentials": ma.RAISE,
        "inputs": ma.RAISE,
        "form_or_json": ma.RAISE,
    }

    def get_default_request(self) -> Request:
        """The request itself: at each look, webargs' proxy would find out anew which one is meant."""
        request: Request = flask.request._get_current_object()  # type: ignore[attr-defined]
        return request

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The first of each name: no schema has a list here, and webargs' own look for one is dear."""
        return req.args.to_dict()

    def _raw_load_json(self, req: Request) -> Any:
        refuse_coding(req)
        body = req.get_data()
        if not body:
            return core.missing
        if not is_json_request(req):
            raise UnsupportedMediaType("Send JSON, with the content type application/json.")
        return strict_json.loads(body)

    def load_multipart(self, req: Request, schema: ma.Schema) -> Any:
        """All parts by name: a list where the schema has one, or where a part came more often than it should."""
        refuse_coding(req)
        if req.mimetype not in FORMS and (req.mimetype or req.get_data()):
            raise UnsupportedMediaType("Send a form, with the content type multipart/form-data.")
        lists = {name for name, field in schema.fields.items() if isinstance(field, ma.fields.List)}
        sent: CombinedMultiDict[str, Any] = CombinedMultiDict([req.files, req.form])
        parts = _without_brackets(dict(sent.lists()), schema)
        return {name: values[0] if len(values) == 1 and name not in lists else values for name, values in parts.items()}

    def load_form_or_json(self, req: Request, schema: ma.Schema) -> Any:
        """As `multipart`, or from a JSON body with the same names, where files are text."""
        if not is_json_request(req):
            return self.load_multipart(req, schema)
        refuse_coding(req)
        body = strict_json.loads_file(req.get_data())
        if not isinstance(body, dict):
            return body
        files = {name for name, field in schema.fields.items() if isinstance(field, ma.fields.List)}
        return {name: _files(value) if name in files else value for name, value in body.items() if value is not None}

    def load_credentials(self, req: Request, schema: ma.Schema) -> Any:
        """From a form or a JSON body; where there is no body, from the course's query string."""
        if req.mimetype in FORMS:
            refuse_coding(req)
            return (req.form or req.args).to_dict()
        body = self._raw_load_json(req)
        return req.args.to_dict() if body is core.missing else body

    def load_inputs(self, req: Request, schema: ma.Schema) -> Any:
        """From JSON as Hugging Face's clients send it; anything else is the bytes of a file."""
        refuse_coding(req)
        return strict_json.loads_file(req.get_data()) if is_json_request(req) else {"inputs": req.get_data()}

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **options: Any) -> NoReturn:
        """As webargs', but what may come in several ways is named by how it came: our word is not the client's."""
        if isinstance(error.messages, dict) and "credentials" in error.messages:
            source = "form" if req.form else "query" if req.args and not req.get_data() else "json"
            error.messages = {source: error.messages["credentials"]}
        if isinstance(error.messages, dict) and "form_or_json" in error.messages:
            error.messages = {form_or_json(req): error.messages["form_or_json"]}
        if isinstance(error.messages, dict) and "inputs" in error.messages:
            found = error.messages["inputs"]
            error.messages = {"json": found} if is_json_request(req) else {"body": found["inputs"]}
        super().handle_error(error, req, schema, **options)


def _files(value: Any) -> Any:
    """One text or several, as files. What is no text is left for the schema to refuse."""
    if isinstance(value, str):
        value = [value]
    return [Base64File(each) if isinstance(each, str) else each for each in value] if isinstance(value, list) else value


def _without_brackets(parts: dict[str, list[Any]], schema: ma.Schema) -> dict[str, list[Any]]:
    """Several parts `data` may be called `data[]`, as for PHP, or `data[0]`, `data[1]` and so on, as axios does.

    Not beside a part `data`, since nothing says then in which order they are.
    """
    for field in schema.fields.keys() - parts.keys():
        found = [name for name in parts if name.startswith(f"{field}[")]
        ordered = found if found == [f"{field}[]"] else [f"{field}[{number}]" for number in range(len(found))]
        if found and set(found) == set(ordered):
            parts[field] = [value for name in ordered for value in parts.pop(name)]
    return parts


def form_or_json(req: Request) -> str:
    """What errors call the body at the location `form_or_json`."""
    return "json" if is_json_request(req) else "multipart"


def refuse_coding(req: Request) -> None:
    """Bodies are not decompressed: a small one could become a huge one. gunicorn passes on what is not chunks."""
    for header in ("Content-Encoding", "Transfer-Encoding"):
        coding = req.headers.get(header, "").strip().lower()
        if coding not in NO_CODING and (header, coding) != ("Transfer-Encoding", "chunked"):
            raise UnsupportedCoding(f"The body has the {header} {coding}: send it as it is.")


class Blueprint(flask_smorest.Blueprint):
    ARGUMENTS_PARSER = Parser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING = flask_smorest.Blueprint.DEFAULT_LOCATION_CONTENT_TYPE_MAPPING | {
        "multipart": "multipart/form-data",
        "credentials": "application/json",
        "inputs": "application/json",
        "form_or_json": "multipart/form-data",
    }
    error_schema: type[ma.Schema] = error_docs.Error

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._document_errors)

    def arguments(
        self, schema: type[ma.Schema] | ma.Schema, *, location: str = "json", **options: Any
    ) -> Callable[[View], View]:
        """As flask-smorest's, with the schema made here, once: from a class webargs makes one for each request.

        Documents 414 where arguments come in the address.
        """
        instance = schema() if isinstance(schema, type) else schema
        take = super().arguments(instance, location=location, **options)
        document = self.errors(*[HTTPStatus.REQUEST_URI_TOO_LONG] * (location in IN_THE_ADDRESS))

        def decorate(view: View) -> View:
            taking: View = document(take(view))
            apidoc = taking._apidoc  # type: ignore[attr-defined]
            apidoc["inputs"] = [(location, instance), *apidoc.get("inputs", [])]
            return taking

        return decorate

    def file(
        self,
        description: str,
        media_types: Sequence[str],
        headers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Callable[[View], View]:
        """Document that an operation answers 200 with a file, whose media type is one of these."""
        content = {type_: {"schema": TEXT if type_.startswith("text/") else BINARY} for type_ in media_types}
        response = {"description": description, "content": content, "headers": headers or {}}
        document: Callable[[View], View] = self.doc(responses={"200": response})
        return document

    def errors(self, *statuses: HTTPStatus, messages: Mapping[HTTPStatus, str] = NO_MESSAGES) -> Callable[[View], View]:
        """Document that an operation can answer these errors, each with an example: see `error_docs`.

        `messages` are the operation's own words for some of them.
        """

        def decorate(view: View) -> View:
            for status in statuses:  # without flask-smorest's wrapper, which only carries this and calls the view
                view._apidoc = self.alt_response(status.value, status.name)(view)._apidoc  # type: ignore[attr-defined]
            if messages:
                view._apidoc["messages"] = messages  # type: ignore[attr-defined]
            return view

        return decorate

    def shape_error(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The body of an error that a view of this blueprint answers."""
        return payload

    def document_error(
        self, payload: dict[str, Any], headers: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """The OpenAPI response of an error with this payload."""
        status = HTTPStatus(payload["code"])
        is_ours = status is not HTTPStatus.REQUEST_URI_TOO_LONG  # that is gunicorn's
        example = self.shape_error(payload) if is_ours else payload
        return {
            "description": status.phrase,
            "content": {"application/json": {"schema": self.error_schema, "example": example}},
            "headers": error_docs.HEADERS.get(status, {}) if headers is None else headers,
        }

    def _document_errors(
        self, doc: dict[str, Any], doc_info: dict[str, Any], *, app: Flask, **_: Any
    ) -> dict[str, Any]:
        """Give each error that the operation has by its name an example of its own."""
        for status, response in list(doc.get("responses", {}).items()):
            if isinstance(response, str) and status != "default":
                inputs, messages = doc_info.get("inputs", []), doc_info.get("messages", {})
                payload = error_docs.example(HTTPStatus(int(status)), inputs, messages, app.config)
                doc["responses"][status] = self.document_error(payload)
        return doc
