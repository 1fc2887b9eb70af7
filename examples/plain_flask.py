"""The course's application in plain Flask: `flask --app examples.plain_flask run`."""

import json
import re
from io import BytesIO
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException

from flaskapp import emails, images
from flaskapp.accounts import Accounts
from flaskapp.captioner import Configuration, GenerationSettings, captioner
from flaskapp.database import Database
from flaskapp.errors import FlaskappError

OK = {"message": "OK", "status-code": 200}
MOST = {"max_length": 64, "num_beams": 16, "num_return_sequences": 16}

app = Flask(__name__)
app.config.from_mapping(CAPTIONER_MODEL="embedded", DATABASE_URL="sqlite:///logins.db", MAX_CONTENT_LENGTH=2**24)
app.config.from_prefixed_env("FLASKAPP")
captioner.configure(Configuration(model=app.config["CAPTIONER_MODEL"]))
accounts = Accounts(Database(app.config["DATABASE_URL"]))


@app.errorhandler(HTTPException)
@app.errorhandler(FlaskappError)
def answer_error(error: Any) -> tuple[dict[str, object], int]:
    return {"message": getattr(error, "description", str(error))}, getattr(error, "code", None) or error.status


def integer(name: str, value: Any, most: int) -> int:
    is_valid = re.fullmatch(r"[1-9]\d{0,3}", str(value)) and int(value) <= most
    return int(value) if is_valid else abort(422, f"{name}: not an integer from 1 to {most}")


def pixels(upload: FileStorage) -> images.Picture:
    return images.EncodedImage(upload.read(), max_megapixels=50).decode()


@app.get("/")
def root() -> dict[str, object]:
    return {**OK}


@app.get("/items/<int(signed=True):item_id>")
def read_item(item_id: int) -> dict[str, object]:
    q = request.args.get("q")
    return {"item_id": item_id} if q is None else {"item_id": item_id, "q": q}


@app.get("/restric_items/<any(alexnet, resnet, lenet):item_id>")
def read_model(item_id: str) -> dict[str, object]:
    return {"item_id": item_id}


@app.get("/query_items")
def read_query() -> dict[str, object]:
    item_id = request.args.get("item_id", type=int)
    return {"item_id": abort(422, "item_id: not an integer") if item_id is None else item_id}


@app.post("/login/")
def save_login() -> Response:
    accounts.save(request.values["username"], request.values["password"])
    return jsonify("login saved")


@app.get("/text_model/")
def check_text() -> dict[str, object]:
    return {**OK, "input": request.args["data"], "is_email": emails.is_email(request.args["data"])}


@app.post("/text_model/")
def check_email() -> dict[str, object]:
    match request.get_json():
        case {"email": str(email), "domain_match": "gmail" | "hotmail" as provider}:
            is_email, is_match = emails.is_email(email), emails.is_at(email, provider)
            return {**OK, "input": request.json, "is_email": is_email, "is_domain_match": is_match}
    return abort(422, "email: not a text, or domain_match: not gmail or hotmail")


@app.post("/cv_model/")
def resize() -> Response:
    height, width = (integer(side, request.args.get(side, 28), 4096) for side in ("h", "w"))
    body = images.encode(images.resize(pixels(request.files["data"]), width, height), "png")
    return send_file(BytesIO(body), "image/png", as_attachment=True, download_name="image_resize.png")


@app.post("/caption/")
def caption() -> dict[str, object]:
    try:
        config = dict(json.loads(request.form.get("config", "{}")))
    except (RecursionError, TypeError, ValueError):
        abort(400, "config: not a JSON object")
    settings = GenerationSettings(**{name: integer(name, value, MOST.get(name, 0)) for name, value in config.items()})
    uploads = request.files.getlist("data") or abort(422, "data: no file")
    captions = captioner.caption([pixels(each).flatten() for each in uploads], settings)
    results = [{"input": each.filename, "captions": those} for each, those in zip(uploads, captions, strict=True)]
    return {**OK, "model": captioner.name, "caption": captions[0][0], "results": results}
