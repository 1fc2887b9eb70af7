import pytest
import requests
from flask.testing import FlaskClient

from tests.conftest import Server, assert_error


@pytest.mark.parametrize("number", [5, 0, -3, 12345678901234567890])
def test_an_integer_in_the_path_is_returned(client: FlaskClient, number: int) -> None:
    assert client.get(f"/items/{number}").get_json() == {"item_id": number}
    assert client.get(f"/query_items?item_id={number}").get_json() == {"item_id": number}


@pytest.mark.parametrize("q", ["tea", "", "ä & b", "5"])
def test_q_is_returned_if_given(client: FlaskClient, q: str) -> None:
    assert client.get("/items/5", query_string={"q": q}).get_json() == {"item_id": 5, "q": q}


def test_the_longest_q_fits_in_a_request_line(server: Server) -> None:
    longest = "\U0001f600" * 320
    assert requests.get(server.url + "/items/5", params={"q": longest}, timeout=10).json()["q"] == longest
    assert_error(requests.get(server.url + "/items/5", params={"q": "a" * 321}, timeout=10), 422, "query", "q")


@pytest.mark.parametrize("text", ["foo", "5.0", "1_000", "٣", "0x5", "1e3", "+5", " 5", "NaN", "5" * 3000 + "a"])
def test_anything_but_an_integer_is_refused_and_named(client: FlaskClient, text: str) -> None:
    assert_error(client.get(f"/items/{text}"), 422, "path", "item_id")
    assert_error(client.get("/query_items", query_string={"item_id": text}), 422, "query", "item_id")


def test_a_query_without_item_id_is_refused_and_named(client: FlaskClient) -> None:
    assert_error(client.get("/query_items"), 422, "query", "item_id")
    assert_error(client.get("/query_items?item_id="), 422, "query", "item_id")


def test_the_first_of_repeated_parameters_counts(client: FlaskClient) -> None:
    assert client.get("/query_items?item_id=1&item_id=2").get_json() == {"item_id": 1}


@pytest.mark.parametrize("name", ["alexnet", "resnet", "lenet"])
def test_a_known_model_is_returned(client: FlaskClient, name: str) -> None:
    assert client.get(f"/restric_items/{name}").get_json() == {"item_id": name}


@pytest.mark.parametrize("name", ["vgg", "LENET", "lenet "])
def test_an_unknown_model_is_refused_and_named(client: FlaskClient, name: str) -> None:
    assert_error(client.get(f"/restric_items/{name}"), 422, "path", "item_id")
