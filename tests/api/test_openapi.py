"""The OpenAPI document is valid, complete and correct."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.api.test_caption import asset
from tests.conftest import Server

ERRORS_OF_A_BODY = {"400", "413", "415", "422"}


@pytest.fixture
def spec(client: FlaskClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").get_json()
    return document


def resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    schema = schema.get("anyOf", [schema])[0]  # the other one is null
    return spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def example_of(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return the example that the examples of a schema's members form."""
    schema = resolve(spec, schema)
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") in ("array", ["array", "null"]):
        return [example_of(spec, schema["items"])]
    assert "properties" in schema, f"no example: {schema}"
    return {name: example_of(spec, member) for name, member in schema["properties"].items()}


def test_the_document_is_valid_openapi_3_1(spec: dict[str, Any]) -> None:
    assert spec["openapi"] == "3.1.0"
    validate(spec)


def test_the_document_with_required_logins_is_valid(make_app: Callable[..., Flask]) -> None:
    validate(make_app(REQUIRE_LOGIN=True).test_client().get("/openapi.json").get_json())


def test_the_document_has_every_route(client: FlaskClient, spec: dict[str, Any]) -> None:
    documented = {(path, method) for path, item in spec["paths"].items() for method in item if method != "parameters"}
    served = {
        (re.sub("<(?:path:|model:)?([a-z_]+)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith(("docs.", "demo.", "static"))
    }
    assert documented == served


def test_every_schema_has_a_valid_example(spec: dict[str, Any]) -> None:
    for name, schema in spec["components"]["schemas"].items():
        if name in ("ResizeForm", "CaptionForm", "JobForm"):  # files have no example
            continue
        whole = schema | {"components": spec["components"]}
        problems = list(Draft202012Validator(whole).iter_errors(example_of(spec, schema)))
        assert not problems, f"{name}: {problems[0].message}"


def parameters(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Yield each parameter with its operation's method and path."""
    return [
        (f"{method} {path}: {parameter['name']}", parameter)
        for path, item in spec["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
        for parameter in operation.get("parameters", [])
    ]


def test_every_parameter_has_a_description_and_unless_deprecated_an_example(spec: dict[str, Any]) -> None:
    for where, parameter in parameters(spec):
        assert parameter.get("description"), where
        assert parameter.get("deprecated") or parameter["schema"].get("examples"), where


def test_no_parameter_is_a_list_since_only_the_first_of_each_name_is_read(spec: dict[str, Any]) -> None:
    types = {where: parameter["schema"].get("type") for where, parameter in parameters(spec)}
    assert types["get /query_items: item_id"] == "integer"
    assert [where for where, type_ in types.items() if type_ == "array"] == []


def test_the_caption_form_has_both_parts(spec: dict[str, Any]) -> None:
    body = spec["paths"]["/caption/"]["post"]["requestBody"]["content"]["multipart/form-data"]
    form = resolve(spec, body["schema"])
    assert form["required"] == ["data"]
    assert form["properties"]["data"]["type"] == "array"
    assert form["properties"]["data"]["items"] == {"type": "string", "format": "binary"}
    assert form["properties"]["data"]["maxItems"] == 32
    beams = resolve(spec, form["properties"]["config"])["properties"]["num_beams"]
    assert (beams["minimum"], beams["maximum"]) == (1, 32)
    assert form["properties"]["prompt"]["maxLength"] == 4096
    assert body["encoding"]["config"] == {"contentType": "application/json"}


def test_the_resized_image_is_documented_as_binary(spec: dict[str, Any]) -> None:
    content = spec["paths"]["/cv_model/"]["post"]["responses"]["200"]["content"]
    assert content.keys() == {"image/jpeg", "image/png", "image/webp"}
    assert all(media["schema"] == {"type": "string", "format": "binary"} for media in content.values())


def test_the_body_of_image_to_text_is_an_image_or_json(spec: dict[str, Any]) -> None:
    content = spec["paths"]["/image-to-text"]["post"]["requestBody"]["content"]
    assert content.pop("application/json")["schema"] == {"$ref": "#/components/schemas/ImageToTextInput"}
    assert content.keys() == {"image/*", "application/octet-stream"}
    assert all(media["schema"] == {"type": "string", "format": "binary"} for media in content.values())


def test_query_settings_equal_config_settings(spec: dict[str, Any]) -> None:
    query = {p["name"]: p["schema"] for p in spec["paths"]["/image-to-text"]["post"]["parameters"]}
    config = spec["components"]["schemas"]["CaptionConfig"]["properties"]
    assert query.keys() == config.keys()
    assert all(query[name]["type"] == config[name]["type"] for name in config if name != "early_stopping")


def test_no_setting_has_a_documented_default(spec: dict[str, Any]) -> None:
    settings = spec["components"]["schemas"]["CaptionConfig"]
    assert "/readyz" in settings["properties"]["max_length"]["description"]
    assert settings["additionalProperties"] is False
    assert [name for name, schema in settings["properties"].items() if "default" in schema] == []
    for form in ("CaptionForm", "JobForm"):
        assert "default" not in spec["components"]["schemas"][form]["properties"]["config"]


def test_the_example_settings_are_accepted_and_include_the_names_of_readyz(
    client: FlaskClient, spec: dict[str, Any]
) -> None:
    settings = spec["components"]["schemas"]["CaptionConfig"]
    config = example_of(spec, settings)
    answer = client.post("/caption/", data={"data": asset("star.png"), "config": json.dumps(config)})
    assert answer.status_code == 200, answer.text
    defaults = client.get("/readyz").get_json()["model"]["defaults"]
    assert defaults.keys() < settings["properties"].keys()


def test_jobs_accept_the_settings_of_captions_except_scores(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    job, caption = schemas["JobConfig"]["properties"], schemas["CaptionConfig"]["properties"]
    assert job.keys() == caption.keys()
    assert job["scores"]["enum"] == [False, None]


def test_optional_members_are_not_required(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    assert schemas["ImageToTextOutput"]["required"] == ["generated_text"]
    assert set(schemas["ImageCaptions"]["required"]) == {"input"}
    assert "warning" not in schemas["CaptionAnswer"]["required"]
    assert set(schemas["ModelState"]["required"]) == {"name", "ready", "message"}


def test_bounds_that_are_settings_are_documented(spec: dict[str, Any]) -> None:
    sides = {p["name"]: p["schema"] for p in spec["paths"]["/cv_model/"]["post"]["parameters"]}
    assert (sides["h"]["minimum"], sides["h"]["maximum"], sides["h"]["default"]) == (1, 4096, 28)


def test_the_forbidden_null_character_is_documented(client: FlaskClient, spec: dict[str, Any]) -> None:
    q = next(p["schema"] for p in spec["paths"]["/items/{item_id}"]["get"]["parameters"] if p["name"] == "q")
    for text in ("tea", "", "two\nlines", "\0", "tea\0", "\U0001f600"):
        is_accepted = client.get("/items/5", query_string={"q": text}).status_code == 200
        assert Draft202012Validator(q).is_valid(text) == is_accepted == ("\0" not in text)


def test_a_login_is_documented_as_json_as_a_form_and_as_a_deprecated_query(spec: dict[str, Any]) -> None:
    login = spec["paths"]["/login/"]["post"]
    assert login["requestBody"]["content"].keys() == {"application/json", "application/x-www-form-urlencoded"}
    assert {(p["name"], p["deprecated"]) for p in login["parameters"]} == {("username", True), ("password", True)}


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/items/{item_id}", "get", {"414", "422"}),
        ("/restric_items/{item_id}", "get", {"414", "422"}),
        ("/query_items", "get", {"414", "422"}),
        ("/text_model/", "get", {"414", "422"}),
        ("/text_model/", "post", ERRORS_OF_A_BODY),
        ("/login/", "post", ERRORS_OF_A_BODY | {"401", "414", "429", "503"}),
        ("/cv_model/", "post", ERRORS_OF_A_BODY | {"414", "503"}),
        ("/caption/", "post", ERRORS_OF_A_BODY | {"429", "503", "504"}),
        ("/image-to-text", "post", ERRORS_OF_A_BODY | {"414", "429", "503", "504"}),
        ("/metrics", "get", {"503"}),
    ],
)
def test_every_error_is_documented(spec: dict[str, Any], path: str, method: str, statuses: set[str]) -> None:
    responses = spec["paths"][path][method]["responses"]
    assert responses.keys() == statuses | {"200", "default"}
    for status in statuses:
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/v2/health/ready"])
def test_the_503_of_readyz_is_documented_with_its_extra_members(spec: dict[str, Any], path: str) -> None:
    answer = spec["paths"][path]["get"]["responses"]["503"]
    schema = resolve(spec, answer["content"]["application/json"]["schema"])
    assert set(schema["required"]) == {"code", "status", "message", "model", "database"}
    assert "Retry-After" in answer["headers"]


def test_a_too_long_url_is_refused_as_documented(server: Server) -> None:
    spec = requests.get(server.url + "/openapi.json", timeout=10).json()
    answer = requests.get(server.url + "/query_items", params={"item_id": "5" * 5000}, timeout=10)
    assert answer.status_code == 414
    documented = spec["paths"]["/query_items"]["get"]["responses"]["414"]["content"]
    assert answer.headers["Content-Type"].partition(";")[0] in documented
    assert answer.json() == documented["application/json"]["example"]
