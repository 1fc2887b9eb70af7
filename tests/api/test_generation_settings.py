"""Generation settings over HTTP: defaults, lengths, prompts, scores, and the warning of the embedded substitute."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.api.caption import SQUARE
from flaskapp.captioner import captioner
from tests.api.test_caption import STAR, asset, caption
from tests.captioner.prompted import write_blip, write_git
from tests.captioner.tiny import make_model, small_vit, write_like_the_hub
from tests.conftest import assert_error

MODEL_TAKES_NO_TEXT = "This model takes no text."


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_git(tmp_path_factory.mktemp("models") / "git")


@pytest.fixture
def with_own_defaults(tmp_path: Path) -> Path:
    """Return a checkpoint with a saved generation configuration."""
    folder = write_like_the_hub(tmp_path / "tiny", make_model(small_vit()))
    (folder / "generation_config.json").write_text(
        json.dumps({"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2, "decoder_start_token_id": 0})
    )
    return folder


def captions(client: FlaskClient, **config: Any) -> list[str]:
    results: list[str] = caption(client, "star.png", config=config).get_json()["results"][0]["captions"]
    return results


def test_the_embedded_model_has_the_course_s_defaults(client: FlaskClient) -> None:
    config = {"num_return_sequences": 8}
    assert captions(client, **config) == captions(client, max_length=16, num_beams=8, **config)


def test_a_checkpoint_s_own_defaults_hold_for_settings_that_a_request_leaves_out(
    make_app: Callable[..., Flask], with_own_defaults: Path
) -> None:
    client = make_app(CAPTIONER_MODEL=str(with_own_defaults)).test_client()
    own = {"max_length": 7, "num_beams": 3, "num_return_sequences": 2}
    assert len(captions(client)) == 2
    assert captions(client) == captions(client, **own)
    assert captions(client, num_beams=1) == captions(client, **own | {"num_beams": 1, "num_return_sequences": 1})
    assert captions(client, max_length=4) == captions(client, **own | {"max_length": 4}) != captions(client)


def test_the_server_s_defaults_take_precedence_over_the_model_s(
    make_app: Callable[..., Flask], with_own_defaults: Path
) -> None:
    client = make_app(
        CAPTIONER_MODEL=str(with_own_defaults), CAPTIONER_DEFAULTS={"max_length": 4, "num_return_sequences": 3}
    ).test_client()
    assert captions(client) == captions(client, max_length=4, num_beams=3, num_return_sequences=3)
    assert len(captions(client)) == 3
    assert len(captions(client, num_return_sequences=1)) == 1


def test_max_new_tokens_excludes_the_start_token_and_takes_precedence_over_max_length(client: FlaskClient) -> None:
    assert captions(client, num_beams=1, max_new_tokens=4) == ["a large pink star"]
    assert captions(client, num_beams=1, max_new_tokens=4, max_length=9) == ["a large pink star"]
    assert captions(client, num_beams=1, max_length=5) == ["a large pink star"]


def test_max_new_tokens_beyond_the_model_s_positions_is_refused(client: FlaskClient) -> None:
    answer = caption(client, "star.png", config={"max_new_tokens": 64})
    assert_error(answer, 422, "multipart", "config", "max_new_tokens")
    assert "not be more than 63" in answer.text


def test_an_answer_has_scores_on_request(client: FlaskClient) -> None:
    plain = caption(client, "star.png", config={"num_return_sequences": 3}).get_json()
    scored = caption(client, "star.png", config={"num_return_sequences": 3, "scores": True}).get_json()
    scores = scored["results"][0].pop("scores")
    assert scored == plain, "scores do not change the captions"
    assert [score.keys() for score in scores] == [{"log_probability", "tokens"}] * 3
    means = [score["log_probability"] for score in scores]
    assert means == sorted(means, reverse=True), "beam search orders by the mean log-probability"
    assert -0.5 < means[0] < 0, "the first caption is nearly certain"


def test_a_score_counts_the_generated_tokens(client: FlaskClient) -> None:
    config = {"num_beams": 1, "max_new_tokens": 4, "scores": True}
    (score,) = caption(client, "star.png", config=config).get_json()["results"][0]["scores"]
    assert score["tokens"] == 4


def test_hugging_face_s_clients_get_scores_beside_each_text(client: FlaskClient) -> None:
    body = {"inputs": SQUARE, "parameters": {"num_return_sequences": 2, "scores": True}}
    outputs = client.post("/image-to-text", json=body).get_json()
    assert [output.keys() for output in outputs] == [{"generated_text", "log_probability", "tokens"}] * 2
    query = "/image-to-text?scores=true&num_beams=1&max_new_tokens=4"
    (output,) = client.post(query, data=asset("star.png")[0].read()).get_json()
    assert (output["generated_text"], output["tokens"]) == ("a large pink star", 4)


def test_a_prompt_for_a_model_that_takes_no_text_is_refused_and_named(client: FlaskClient) -> None:
    answer = caption(client, "star.png", config={"prompt": "a photograph of"})
    assert_error(answer, 422, "multipart", "config", "prompt")
    assert answer.get_json()["errors"]["multipart"]["config"]["prompt"] == [MODEL_TAKES_NO_TEXT]
    answer = client.post("/caption/", data={"data": asset("star.png"), "prompt": "a photograph of"})
    assert_error(answer, 422, "multipart", "prompt")
    assert answer.get_json()["errors"]["multipart"]["prompt"] == [MODEL_TAKES_NO_TEXT]
    answer = client.post("/image-to-text?prompt=5", data=asset("star.png")[0].read())
    assert answer.get_json()["errors"]["query"]["prompt"] == [MODEL_TAKES_NO_TEXT]


def test_an_invalid_setting_beside_a_prompt_field_is_named_in_the_config(
    make_app: Callable[..., Flask], blip: Path
) -> None:
    client = make_app(CAPTIONER_MODEL=str(blip)).test_client()
    form = {"data": asset("star.png"), "prompt": "a red star", "config": '{"num_return_sequences": 2}'}
    assert_error(client.post("/caption/", data=form), 422, "multipart", "config", "num_return_sequences")


def test_an_empty_prompt_is_ignored(client: FlaskClient) -> None:
    answer = client.post("/caption/", data={"data": asset("star.png"), "prompt": "", "config": '{"prompt": ""}'})
    assert answer.get_json()["caption"] == STAR


@pytest.mark.parametrize("model", ["blip", "git"])
def test_a_caption_continues_its_prompt(
    make_app: Callable[..., Flask], request: pytest.FixtureRequest, model: str
) -> None:
    client = make_app(CAPTIONER_MODEL=str(request.getfixturevalue(model))).test_client()
    config = {"prompt": "a photograph of", "max_new_tokens": 5, "min_length": 9}
    (text,) = captions(client, **config)
    assert text.startswith("a photograph of ")
    other = config | {"prompt": "a red star"}
    assert captions(client, **other)[0].startswith("a red star ")
    form = {"data": asset("star.png"), "prompt": "a photograph of", "config": json.dumps(other)}
    assert client.post("/caption/", data=form).get_json()["caption"] == text, "the form's field takes precedence"
    body = {"inputs": SQUARE, "parameters": config}
    assert client.post("/image-to-text", json=body).get_json()[0]["generated_text"].startswith("a photograph of")


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("x" * 4097, "Longer than maximum length 4096."),
        ("a\0", "Not valid text."),
        (["a", "b"], "Not a valid string."),
        ("a red star " * 30, "Must have at most 62 tokens, for this model."),
    ],
)
def test_an_unusable_prompt_is_refused(
    make_app: Callable[..., Flask], blip: Path, prompt: str | list[str], complaint: str
) -> None:
    client = make_app(CAPTIONER_MODEL=str(blip)).test_client()
    answer = client.post("/caption/", data={"data": asset("star.png"), "prompt": prompt})
    assert_error(answer, 422, "multipart", "prompt")
    assert answer.get_json()["errors"]["multipart"]["prompt"] == [complaint]


def test_a_prompt_may_leave_room_for_one_token(make_app: Callable[..., Flask], blip: Path) -> None:
    client = make_app(CAPTIONER_MODEL=str(blip)).test_client()
    assert len(captions(client, prompt="red " * 62)[0].split()) in (62, 63)


def test_an_answer_warns_while_the_embedded_model_substitutes(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: FlaskClient
) -> None:
    assert "warning" not in caption(client, "star.png").get_json()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    client = make_app(CAPTIONER_MODEL=None).test_client()
    answer = caption(client, "star.png").get_json()
    assert answer["model"] == "embedded"
    assert answer["warning"] == client.get("/readyz").get_json()["model"]["message"]
    assert "nlpconnect/vit-gpt2-image-captioning could not be downloaded" in answer["warning"]
    (output,) = client.post("/image-to-text", json={"inputs": SQUARE}).get_json()
    assert output["warning"] == answer["warning"]


def model_of(client: FlaskClient) -> dict[str, Any]:
    captioner.load()
    captioner.warm_up()
    model: dict[str, Any] = client.get("/readyz").get_json()["model"]
    return model


def test_readyz_shows_the_decoder_and_the_defaults(
    make_app: Callable[..., Flask], blip: Path, git: Path, with_own_defaults: Path
) -> None:
    model = model_of(make_app(CAPTIONER_MODEL=str(blip)).test_client())
    assert (model["decoder"], model["takes_prompt"]) == ("fast", True)
    assert "reason" not in model
    model = model_of(make_app(CAPTIONER_MODEL=str(git)).test_client())
    assert (model["decoder"], model["takes_prompt"]) == ("generate", True)
    assert model["reason"] == "there is no description of GitForCausalLM"
    model = model_of(make_app(CAPTIONER_MODEL=str(with_own_defaults)).test_client())
    assert (model["decoder"], model["takes_prompt"], model["defaults"]["num_beams"]) == ("fast", False, 3)
    (with_own_defaults / "generation_config.json").write_text('{"renormalize_logits": true, "num_beams": 2}')
    model = model_of(make_app(CAPTIONER_MODEL=f"{with_own_defaults}/").test_client())
    assert model["decoder"] == "generate"
    assert model["reason"] == "its generation configuration asks for renormalize_logits=True"


def test_readyz_shows_the_server_s_defaults(make_app: Callable[..., Flask]) -> None:
    model = model_of(make_app(CAPTIONER_DEFAULTS={"num_beams": 2, "max_new_tokens": 9}).test_client())
    assert (model["defaults"]["num_beams"], model["defaults"]["max_length"]) == (2, 10)


@pytest.mark.parametrize(("model", "decoder"), [("blip", "fast"), ("git", "generate")])
def test_metrics_show_the_decoder_of_the_model_and_of_each_image(
    make_app: Callable[..., Flask], request: pytest.FixtureRequest, model: str, decoder: str
) -> None:
    client = make_app(CAPTIONER_MODEL=str(request.getfixturevalue(model))).test_client()
    images = f'flaskapp_captioner_images_total{{decoder="{decoder}"}}'
    before = sample(client, images)
    captions(client, max_new_tokens=3)
    assert sample(client, images) == before + 1
    assert sample(client, f'flaskapp_captioner_decoder{{decoder="{decoder}",model="{model}"}}') == 1


def sample(client: FlaskClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
