"""Swagger UI and ReDoc. Their scripts come from this server, so that the pages work offline."""

from importlib.metadata import distribution

from apispec import APISpec
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    json,
    make_response,
    redirect,
    render_template,
    send_from_directory,
)
from werkzeug.wrappers import Response as BaseResponse

from flaskapp.api import prefix

# Not imported: the import reads all pages of the package into memory.
ASSETS = str(distribution("offapi").locate_file("offapi"))

# No inline scripts. Both programs insert style elements; ReDoc's contain a font.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blp = Blueprint("docs", __name__, template_folder="templates", static_folder="static", static_url_path="/docs/static")


def init_app(app: Flask, spec: APISpec) -> None:
    app.extensions["openapi"] = spec
    app.register_blueprint(blp)


@blp.get("/openapi.json")
def openapi() -> Response:
    document = current_app.extensions["openapi"].to_dict() | {"servers": [{"url": prefix.root()}]}
    return Response(json.dumps(document, indent=2, sort_keys=False), mimetype="application/json")


@blp.get("/swagger-ui")
def swagger_ui() -> Response:
    return _page("docs/swagger_ui.html")


@blp.get("/redoc")
def redoc() -> Response:
    return _page("docs/redoc.html")


@blp.get("/docs")
def docs() -> BaseResponse:
    return redirect(prefix.relative_url_for("docs.swagger_ui"))


@blp.get("/docs/assets/<any('redoc.js', 'swagger_bundle.js', 'swagger_style.css'):asset>")
def assets(asset: str) -> Response:
    return send_from_directory(ASSETS, asset, max_age=3600)


def _page(template: str) -> Response:
    page = make_response(render_template(template))
    page.headers["Content-Security-Policy"] = POLICY
    return page
