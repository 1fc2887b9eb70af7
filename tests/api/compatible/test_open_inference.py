"""The Open Inference Protocol, called by Triton's own client and by hand."""

import base64
import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from flask.testing import FlaskClient
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from tests.api.compatible.images import CIRCLE_AND_DIAMOND, STAR, base64_of, file
from tests.conftest import Server

NAMES = ("star.png", "circle_and_diamond.png")
PATH = "/v2/models/embedded/infer"


@pytest.fixture
def triton_client(server: Server) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(url=server.url.removeprefix("http://"), network_timeout=60)
    yield client
    client.close()


def images(*elements: bytes, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(elements)], "BYTES")
    tensor.set_data_from_numpy(np.array(elements, object), binary_data=binary)
    return tensor


def test_the_server_and_its_model_are_live_ready_and_described(triton_client: triton.InferenceServerClient) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("embedded")
    assert not triton_client.is_model_ready("another")
    assert "binary_tensor_data" in triton_client.get_server_metadata()["extensions"]
    model = triton_client.get_model_metadata("embedded")
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [{"name": "caption", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [None, True, False])
def test_images_get_their_captions(
    triton_client: triton.InferenceServerClient, binary_input: bool, binary_output: bool | None
) -> None:
    """JSON holds images in base64, the binary extension holds bytes. By default Triton's outputs are binary."""
    elements = [file(name) if binary_input else base64.b64encode(file(name)) for name in NAMES]
    outputs = None if binary_output is None else [triton.InferRequestedOutput("caption", binary_data=binary_output)]
    answer = triton_client.infer(
        "embedded", [images(*elements, binary=binary_input)], outputs=outputs, request_id="a-1"
    )
    captions = [text.decode() if isinstance(text, bytes) else text for text in answer.as_numpy("caption")]
    assert captions == [STAR, CIRCLE_AND_DIAMOND]
    assert answer.get_response()["id"] == "a-1"
    assert answer.get_response()["model_name"] == "embedded"


def test_parameters_set_the_generation(triton_client: triton.InferenceServerClient) -> None:
    answer = triton_client.infer(
        "embedded", [images(file("star.png"))], parameters={"num_beams": 4, "num_return_sequences": 2}
    )
    captions = answer.as_numpy("caption")
    assert captions.shape == (1, 2)
    assert captions[0][0].decode() == STAR
    with pytest.raises(InferenceServerException, match=r"parameters\.num_beams: Must be"):
        triton_client.infer("embedded", [images(file("star.png"))], parameters={"num_beams": 0})
    with pytest.raises(InferenceServerException, match=r"parameters\.num_return_sequences: Must not be more"):
        triton_client.infer(
            "embedded", [images(file("star.png"))], parameters={"num_beams": 2, "num_return_sequences": 3}
        )


def tensor(**changes: Any) -> dict[str, Any]:
    whole = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64_of("star.png")]} | changes
    return {"inputs": [{name: value for name, value in whole.items() if value is not None}]}


def test_a_request_like_the_specification_s_example_is_answered(client: FlaskClient) -> None:
    answer = client.post(PATH, json=tensor(parameters={"content_type": "base64"}) | {"id": "42"}).get_json()
    assert answer.pop("model_version")
    output = {"name": "caption", "shape": [1], "datatype": "BYTES", "data": [STAR]}
    assert answer == {"id": "42", "model_name": "embedded", "outputs": [output]}


def test_data_may_be_nested_lists(client: FlaskClient) -> None:
    answer = client.post(PATH, json=tensor(shape=[1, 1], data=[[base64_of("star.png")]]))
    assert answer.get_json()["outputs"][0]["data"] == [STAR]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "inputs: Missing data"),
    "no inputs": ({"inputs": []}, "inputs: Length must be 1"),
    "no images": (tensor(shape=[0], data=[]), "inputs: There is no image in it"),
    "another name": (tensor(name="pixels"), "inputs.0.name: Must be equal to image"),
    "another type": (tensor(datatype="FP32"), "inputs.0.datatype: Must be equal to BYTES"),
    "another shape": (tensor(shape=[2]), "inputs.0.shape: The data has 1 elements"),
    "no data": (tensor(data=None), "inputs.0.data: Missing data"),
    "a number": (tensor(data=[5]), "inputs.0.data.0: Not a string"),
    "an address": (tensor(data=["http://127.0.0.1/cat.jpg"]), "inputs.0.data.0: Send the image itself"),
    "a broken image": (tensor(data=[base64_of("star.png")[:400]]), "inputs.0.data.0: "),
    "another output": (tensor() | {"outputs": [{"name": "label"}]}, "outputs.0.name: Must be equal to caption"),
    "a size without bytes": (tensor(parameters={"binary_data_size": 9}, data=None), "A binary_data_size does not fit"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_have_the_protocol_s_shape(client: FlaskClient, case: str) -> None:
    body, sentence = WRONG[case]
    answer = client.post(PATH, json=body)
    assert answer.status_code == 400
    assert answer.get_json().keys() == {"error"}
    assert answer.get_json()["error"].startswith(sentence)


def post_raw(client: FlaskClient, raw: bytes, size: Any, length: str | None = None) -> TestResponse:
    head = json.dumps(tensor(data=None, parameters={"binary_data_size": size})).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)) if length is None else length}
    return client.post(PATH, data=head + raw, headers=headers)


def element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def test_raw_bytes_of_the_wrong_length_are_refused(client: FlaskClient) -> None:
    raw = element(file("star.png"))
    assert post_raw(client, raw, len(raw)).get_json()["outputs"][0]["data"] == [STAR]
    for wrong in (
        post_raw(client, raw, len(raw) - 1),
        post_raw(client, raw, len(raw) + 1),
        post_raw(client, raw, -1),
        post_raw(client, raw, "9"),
        post_raw(client, raw, len(raw), length="999999999"),
        post_raw(client, raw, len(raw), length="x"),
        post_raw(client, raw, len(raw), length="-1"),
        post_raw(client, raw[:-1], len(raw) - 1),
        post_raw(client, raw + b"\0\0", len(raw) + 2),
        post_raw(client, b"\xff\xff\xff\xff", 4),
    ):
        assert wrong.status_code == 400, wrong.text
        assert wrong.get_json()["error"]


def test_raw_bytes_of_too_many_elements_are_refused(client: FlaskClient) -> None:
    wrong = post_raw(client, element(b"") * 10_001, 4 * 10_001)
    assert wrong.status_code == 400
    assert wrong.get_json()["error"] == "The inputs have more than 10000 elements."


@pytest.mark.parametrize("side", [10**900, 10**400, -1])
def test_a_shape_with_large_numbers_is_refused_before_they_are_multiplied(client: FlaskClient, side: int) -> None:
    """The product of 9,000 numbers of 900 digits takes minutes."""
    start = time.process_time()
    wrong = client.post(PATH, json=tensor(shape=[side] * 9000))
    assert time.process_time() - start < 10
    assert wrong.status_code == 400
    assert wrong.get_json()["error"].startswith("inputs.0.shape.0: Must be greater than or equal to 0")


def test_an_unknown_model_is_not_found(server: Server) -> None:
    for answer in (
        requests.get(server.url + "/v2/models/some/other", timeout=30),
        requests.get(server.url + "/v2/models/some/other/ready", timeout=30),
        requests.post(server.url + "/v2/models/some/other/infer", json=tensor(), timeout=30),
    ):
        assert answer.status_code == 404
        assert answer.json() == {"error": "this server's model is embedded"}


@pytest.mark.parametrize("endpoint", ["config", "stats", "versions/1/config", "versions/1/stats"])
def test_an_endpoint_of_triton_s_own_is_not_reported_as_another_model(server: Server, endpoint: str) -> None:
    answer = requests.get(f"{server.url}/v2/models/embedded/{endpoint}", timeout=30)
    assert answer.status_code == 404
    assert answer.json() == {"error": "this server does not have this endpoint"}
