"""The Open Inference Protocol, version 2, for KServe's and Triton's clients.

Reference: kserve/open-inference-protocol, specification/protocol/inference_rest.md, with Triton's extension for binary
tensors. The probes of this protocol are in `probes`.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from math import prod
from typing import Any

import marshmallow as ma
from flask import Response, json
from marshmallow import ValidationError, post_load, validate
from werkzeug.routing import PathConverter

from flaskapp import __version__
from flaskapp.api import image_quota
from flaskapp.api.caption import SQUARE, WARNING, Generation
from flaskapp.api.compatible import chat, tensors
from flaskapp.api.compatible.blueprint import CompatibleBlueprint
from flaskapp.api.describe import warning
from flaskapp.api.fields import Flag, NullIsUnset, Text, WholeNumber
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import ModelUnavailable, UnknownModel

IMAGE, CAPTION, BYTES = "image", "caption", "BYTES"
VERSION = "1"  # of a model without a known version
RAW = "application/octet-stream"
EXTENSIONS = ["binary_tensor_data"]
TEXTS = chat.TEXT["examples"]
RETRY_AFTER = 5  # seconds


class ModelName(PathConverter):
    """The name of a model, which may contain slashes, without the protocol's `/ready` or `/infer` behind it."""

    regex = "[^/].*?(?<!/ready)(?<!/infer)"


class TensorParameters(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    content_type = Text(
        metadata={"description": "`base64`, or nothing: elements in JSON are always base64", "examples": ["base64"]}
    )
    binary_data_size = WholeNumber(
        allow_none=True, metadata={"description": "Number of this input's bytes behind the JSON", "examples": [None]}
    )


class InputTensor(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    name = Text(required=True, validate=validate.Equal(IMAGE), metadata={"examples": [IMAGE]})
    # Bounded: multiplying integers of thousands of digits would take minutes.
    shape = ma.fields.List(
        WholeNumber(validate=validate.Range(0, tensors.MAX_ELEMENTS)), required=True, metadata={"examples": [[1]]}
    )
    datatype = Text(required=True, validate=validate.Equal(BYTES), metadata={"examples": [BYTES]})
    parameters = ma.fields.Nested(TensorParameters)
    data = ma.fields.List(
        ma.fields.Raw(), required=True, metadata={"description": "Image files in base64", "examples": [[SQUARE]]}
    )


class OutputParameters(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    binary_data = Flag(
        load_default=False, metadata={"description": "Answer with bytes behind the JSON", "examples": [False]}
    )


class RequestedOutput(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    name = Text(required=True, validate=validate.Equal(CAPTION), metadata={"examples": [CAPTION]})
    parameters = ma.fields.Nested(OutputParameters, load_default=lambda: {"binary_data": False})


class InferParameters(Generation):
    """The settings of `/caption/`, and a parameter of Triton."""

    class Meta:
        unknown = ma.EXCLUDE
        exclude = ("scores",)

    binary_data_output = Flag(
        load_default=False, metadata={"description": "The same, for requests without `outputs`", "examples": [False]}
    )


class InferRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    id = Text(load_default="", metadata={"description": "The answer repeats it", "examples": ["42"]})
    parameters = ma.fields.Nested(InferParameters, load_default=dict)
    inputs = ma.fields.List(ma.fields.Nested(InputTensor), required=True, validate=validate.Length(equal=1))
    outputs = ma.fields.List(ma.fields.Nested(RequestedOutput), validate=validate.Length(equal=1))

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the arguments of the view."""
        (tensor,) = data["inputs"]
        elements = list(_flat(tensor["data"]))
        if prod(tensor["shape"]) != len(elements):
            raise ValidationError(chat.nested(("inputs", 0, "shape"), f"The data has {len(elements)} elements."))
        parameters = dict(data["parameters"])
        is_binary = parameters.pop("binary_data_output", False)
        if "outputs" in data:
            is_binary = data["outputs"][0]["parameters"]["binary_data"]
        found = [chat.FoundImage(("inputs", 0, "data", index), element) for index, element in enumerate(elements)]
        return {
            "id": data["id"],
            "question": chat.read_question(found, "", "inputs"),
            "settings": GenerationSettings(**parameters),
            "is_binary": is_binary,
        }


def _flat(data: list[Any]) -> Iterator[Any]:
    """Flatten the elements of a tensor, which the protocol allows in nested lists."""
    for element in data:
        if isinstance(element, list):
            yield from _flat(element)
        else:
            yield element


class TensorMetadata(ma.Schema):
    name = ma.fields.String(required=True, metadata={"description": "`image` or `caption`", "examples": [CAPTION]})
    datatype = ma.fields.String(required=True, metadata={"examples": [BYTES]})
    shape = ma.fields.List(
        ma.fields.Integer(), required=True, metadata={"description": "-1: of any length", "examples": [[1]]}
    )


class OutputTensor(TensorMetadata):
    data = ma.fields.List(
        ma.fields.String(),
        metadata={"description": "The captions, the best of an image first", "examples": [TEXTS]},
    )


class InferAnswer(ma.Schema):
    id = ma.fields.String(metadata={"description": "The `id` of the request, if it had one", "examples": ["42"]})
    model_name = ma.fields.String(required=True, metadata=chat.MODEL)
    model_version = ma.fields.String(required=True, metadata={"examples": [VERSION]})
    outputs = ma.fields.List(ma.fields.Nested(OutputTensor), required=True)
    parameters = ma.fields.Dict(
        metadata={
            "description": "`warning`, while another model replaces the default one",
            "examples": [{"warning": WARNING["examples"][0]}],
        }
    )


class ServerMetadata(ma.Schema):
    name = ma.fields.String(required=True, metadata={"examples": ["flaskapp"]})
    version = ma.fields.String(required=True, metadata={"examples": [__version__]})
    extensions = ma.fields.List(ma.fields.String(), required=True, metadata={"examples": [EXTENSIONS]})


class ModelMetadata(ma.Schema):
    name = ma.fields.String(required=True, metadata=chat.MODEL)
    versions = ma.fields.List(ma.fields.String(), required=True, metadata={"examples": [[VERSION]]})
    platform = ma.fields.String(required=True, metadata={"examples": ["flaskapp"]})
    inputs = ma.fields.List(ma.fields.Nested(TensorMetadata), required=True)
    outputs = ma.fields.List(ma.fields.Nested(TensorMetadata), required=True)


class ModelReadiness(ma.Schema):
    name = ma.fields.String(required=True, metadata=chat.MODEL)
    ready = ma.fields.Boolean(required=True, metadata={"examples": [True]})


class InferenceError(ma.Schema):
    error = ma.fields.String(required=True, metadata=chat.ERROR)


blp = CompatibleBlueprint(
    "open_inference",
    __name__,
    description="The captioner, for KServe's and Triton's clients",
    error_schema=InferenceError,
    reshape=lambda _, message, __: {"error": message},
)


@blp.route("/v2")
@blp.response(200, ServerMetadata)
def server_metadata() -> dict[str, Any]:
    """Return the metadata of the server"""
    return {"name": "flaskapp", "version": __version__, "extensions": EXTENSIONS}


@blp.route("/v2/models/<model:name>/", parameters=[chat.MODEL_NAME])
@blp.response(200, ModelMetadata)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES)
def model_metadata(name: str) -> dict[str, Any]:
    """Return the metadata of the model: its input and its output"""
    _check_name(name)
    return {
        "name": captioner.name,
        "versions": [_version()],
        "platform": "flaskapp",
        "inputs": [{"name": IMAGE, "datatype": BYTES, "shape": [-1]}],
        "outputs": [{"name": CAPTION, "datatype": BYTES, "shape": [-1]}],
    }


@blp.route("/v2/models/<model:name>/ready/", parameters=[chat.MODEL_NAME])
@blp.response(200, ModelReadiness)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES)
def model_ready(name: str) -> dict[str, Any]:
    """Report whether the model is ready"""
    _check_name(name)
    if captioner.problem is not None:
        raise ModelUnavailable(captioner.problem, RETRY_AFTER)
    return {"name": captioner.name, "ready": True}


@blp.route("/v2/models/<model:name>/infer/", methods=["POST"], parameters=[chat.MODEL_NAME])
@blp.tensors(InferRequest, example={"inputs": [{"name": IMAGE, "shape": [1], "datatype": BYTES, "data": [SQUARE]}]})
@blp.answers_also(RAW)
@blp.response(200, InferAnswer, headers=image_quota.HEADERS)
@blp.errors(HTTPStatus.NOT_FOUND, *chat.ERRORS, messages=chat.MESSAGES)
def infer(
    name: str, id: str, question: chat.Question, settings: GenerationSettings, is_binary: bool
) -> dict[str, Any] | Response:
    """Describe images in words, for clients of the Open Inference Protocol

    With several captions for each image, `shape` is images by captions.
    """
    _check_name(name, waits=True)
    described = chat.answer_question(question, settings, ("parameters",))
    captions = [caption.text for captions in described.captions for caption in captions]
    images = len(question.images)
    shape = [images] if len(captions) == images else [images, len(captions) // images]
    answer: dict[str, Any] = {"model_name": captioner.name, "model_version": _version(), **({"id": id} if id else {})}
    if warned := warning(*described.warnings):
        answer["parameters"] = warned
    output: dict[str, Any] = {"name": CAPTION, "datatype": BYTES, "shape": shape}
    if not is_binary:
        return answer | {"outputs": [output | {"data": captions}]}
    raw = tensors.pack(captions)
    return _with_raw(answer | {"outputs": [output | {"parameters": {"binary_data_size": len(raw)}}]}, raw)


def _with_raw(answer: Mapping[str, Any], raw: bytes) -> Response:
    head = json.dumps(answer).encode()
    return Response(head + raw, mimetype=RAW, headers={tensors.HEADER: str(len(head))})


def _check_name(name: str, *, waits: bool = False) -> None:
    """Call `chat.check_name` for a name that may end in a version: `embedded/versions/1`."""
    base, _, version = name.partition("/versions/")
    version, _, rest = version.partition("/")
    if rest or base.startswith(f"{chat.model_name(waits=waits)}/"):
        raise UnknownModel("this server does not have this endpoint")
    chat.check_name(base, waits=waits)
    if version not in ("", VERSION, _version()):
        raise UnknownModel(f"the version of this server's model is {_version()}")


def _version() -> str:
    return chat.model_version() or VERSION
