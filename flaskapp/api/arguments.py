"""Read the arguments of views: webargs' parser, with locations that flask-smorest lacks.

flask-smorest reads the files of a multipart form or its fields, not both into one schema
(https://github.com/marshmallow-code/flask-smorest/issues/46 and 557), and one content type for a view. Added locations:

- `multipart`: the fields and the files of a form.
- `form_or_json`: the same, or JSON with files in base64.
- `inputs`: an image file, or JSON with one in base64, as Hugging Face's clients send it.
- `credentials`: a form or JSON; without a body, the course's query string.

Views do not name them: they call `form`, `file_or_json` and `credentials` of the blueprint.
"""

from typing import Any, NoReturn

import marshmallow as ma
from flask import Request
from webargs import core
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.datastructures import CombinedMultiDict
from werkzeug.exceptions import UnsupportedMediaType

from flaskapp.api import strict_json
from flaskapp.api.application import current_request
from flaskapp.api.errors import body_location
from flaskapp.api.forms import FORMS
from flaskapp.api.image_fields import Base64File
from flaskapp.errors import UnsupportedCoding

NO_CODING = ("", "identity")
MAX_NAME = 100  # characters of a field's name in an error


class Parser(FlaskParser):
    __location_map__ = FlaskParser.__location_map__ | {
        "multipart": "load_multipart",
        "form_or_json": "load_form_or_json",
        "inputs": "load_inputs",
        "credentials": "load_credentials",
    }
    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {
        "multipart": ma.RAISE,
        "form_or_json": ma.RAISE,
        "inputs": ma.RAISE,
        "credentials": ma.RAISE,
    }

    def get_default_request(self) -> Request:
        return current_request()

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """Return the first value of each name. No schema has a list here, and webargs' check for lists is slow."""
        return req.args.to_dict()

    def _raw_load_json(self, req: Request) -> Any:
        reject_coding(req)
        body = req.get_data()
        if not body:
            return core.missing
        if not is_json_request(req):
            raise UnsupportedMediaType("Send JSON, with the content type application/json.")
        return strict_json.loads(body)

    def load_multipart(self, req: Request, schema: ma.Schema) -> Any:
        """Return the parts by name. A part that was sent several times is a list, for its field to accept or reject."""
        reject_coding(req)
        if req.mimetype not in FORMS and (req.mimetype or req.get_data()):
            raise UnsupportedMediaType("Send a form, with the content type multipart/form-data.")
        lists = _list_fields(schema)
        sent: CombinedMultiDict[str, Any] = CombinedMultiDict([req.files, req.form])
        parts = _merge_brackets(dict(sent.lists()), schema)
        return {name: values[0] if len(values) == 1 and name not in lists else values for name, values in parts.items()}

    def load_form_or_json(self, req: Request, schema: ma.Schema) -> Any:
        """Return the parts of a form, or the members of JSON, in which the schema's lists hold files in base64."""
        if not is_json_request(req):
            return self.load_multipart(req, schema)
        reject_coding(req)
        body = strict_json.loads_file(req.get_data())
        if not isinstance(body, dict):
            return body
        lists = _list_fields(schema)
        return {name: _files(value) if name in lists else value for name, value in body.items() if value is not None}

    def load_inputs(self, req: Request, schema: ma.Schema) -> Any:
        reject_coding(req)
        if is_json_request(req):
            return strict_json.loads_file(req.get_data())
        if req.mimetype == "multipart/form-data" and req.get_data()[:4].lstrip().startswith(b"--"):
            raise UnsupportedMediaType("Send the image itself as the body, or JSON, and not a form.")
        return {"inputs": req.get_data()}

    def load_credentials(self, req: Request, schema: ma.Schema) -> Any:
        if req.mimetype in FORMS:
            reject_coding(req)
            return (req.form or req.args).to_dict()
        body = self._raw_load_json(req)
        return req.args.to_dict() if body is core.missing else body

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **options: Any) -> NoReturn:
        """Name the location that the client used: it does not know the locations of this parser."""
        if isinstance(error.messages, dict):
            if "credentials" in error.messages and _credentials_location(req) != "json":
                error.messages["credentials"] = _without_unknown(error.messages["credentials"], schema)
            sent = dict(_as_sent(location, found, req) for location, found in error.messages.items())
            error.messages = _shortened(sent)
        super().handle_error(error, req, schema, **options)


def _without_unknown(errors: dict[str, Any], schema: ma.Schema) -> dict[str, Any]:
    """Remove the names of unknown fields from the errors of a login's form.

    If JSON or a bare password is sent as a form, such a name contains the password.
    """
    known = {name: found for name, found in errors.items() if name in (*schema.fields, ma.exceptions.SCHEMA)}
    return known if len(known) == len(errors) else known | {ma.exceptions.SCHEMA: ["There is an unknown field."]}


def _shortened(errors: Any) -> Any:
    """Cut long names, of unknown fields."""
    if not isinstance(errors, dict):
        return errors
    return {
        f"{name[:MAX_NAME]}…" if isinstance(name, str) and len(name) > MAX_NAME else name: _shortened(found)
        for name, found in errors.items()
    }


def _as_sent(location: str, errors: Any, req: Request) -> tuple[str, Any]:
    """Return the location that the client used, and its errors."""
    match location:
        case "credentials":
            return _credentials_location(req), errors
        case "form_or_json":
            return body_location(), errors
        case "inputs":
            return ("json", errors) if is_json_request(req) else ("body", errors["inputs"])
    return location, errors


def _credentials_location(req: Request) -> str:
    """Return the location that `load_credentials` read. A form with files only, or without fields, is a form, too."""
    is_form = req.mimetype in FORMS
    if req.args and not (req.form if is_form else req.get_data()):
        return "query"
    return "form" if is_form else "json"


def _list_fields(schema: ma.Schema) -> set[str]:
    return {name for name, field in schema.fields.items() if isinstance(field, ma.fields.List)}


def _files(value: Any) -> Any:
    """Mark the texts of a list, or one text alone, as files. The schema rejects other values."""
    if isinstance(value, str):
        value = [value]
    return [Base64File(each) if isinstance(each, str) else each for each in value] if isinstance(value, list) else value


def _merge_brackets(parts: dict[str, list[Any]], schema: ma.Schema) -> dict[str, list[Any]]:
    """Accept `data[]`, which PHP's clients send, and `data[0]`, `data[1]`, which axios sends, as several parts `data`.

    Beside a part `data` they are unknown fields, because their order would be unknown.
    """
    for field in schema.fields.keys() - parts.keys():
        found = [name for name in parts if name.startswith(f"{field}[")]
        ordered = found if found == [f"{field}[]"] else [f"{field}[{number}]" for number in range(len(found))]
        if found and set(found) == set(ordered):
            parts[field] = [value for name in ordered for value in parts.pop(name)]
    return parts


def reject_coding(req: Request) -> None:
    """Raise UnsupportedCoding for a compressed body: a small one could become a huge one.

    gunicorn decodes chunks itself, and passes on other transfer codings.
    """
    for header in ("Content-Encoding", "Transfer-Encoding"):
        coding = req.headers.get(header, "").strip().lower()
        if coding not in NO_CODING and (header, coding) != ("Transfer-Encoding", "chunked"):
            raise UnsupportedCoding(f"The body has the {header} {coding}: send it as it is.")
