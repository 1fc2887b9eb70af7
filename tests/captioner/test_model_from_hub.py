"""The captioner while the hub does not offer its model."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest

from flaskapp.captioner import Captioner, Configuration, GenerationSettings, loader
from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL, EMBEDDED
from flaskapp.errors import CaptionerUnavailable, ModelUnavailable
from tests.captioner.layouts.queries import write_instructblip
from tests.captioner.stub_hub import Refusal, StubHub
from tests.polling import wait_until

SETTINGS = GenerationSettings(max_length=8, num_beams=1)
IMAGE = np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set an empty cache, also for downloading processes."""
    for name in ("HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(loader, "LONGEST_PAUSE", 0.2)
    return tmp_path / "cache"


@pytest.fixture
def hub(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> StubHub:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


@pytest.fixture
def make_captioner() -> Iterator[Callable[..., Captioner]]:
    captioners = []

    def make(**settings: object) -> Captioner:
        captioners.append(Captioner())
        captioners[-1].configure(Configuration(**settings))  # type: ignore[arg-type]
        return captioners[-1]

    yield make
    for captioner in captioners:
        captioner.configure(Configuration(model="nothing/more"))  # ends the threads


@pytest.mark.parametrize("model", [None, DEFAULT_MODEL])
def test_a_model_that_the_hub_refuses_at_first_is_loaded_later(
    hub: StubHub, make_captioner: Callable[..., Captioner], model: str | None
) -> None:
    hub.down = Refusal(404)
    captioner = make_captioner(model=model)
    with pytest.raises(ModelUnavailable, match="is not available from the hub at the moment") as refused:
        captioner.load()
    assert captioner.problem == str(refused.value)
    assert captioner.name == "none"
    with pytest.raises(ModelUnavailable) as caption_refused:
        captioner.caption([IMAGE], SETTINGS)  # also starts retries in the background
    assert caption_refused.value.retry_after is not None
    hub.wait_for("info", times=3)
    hub.down = None
    wait_until(lambda: captioner.problem is None)
    assert captioner.name == DEFAULT_MODEL
    assert len(captioner.caption([IMAGE], SETTINGS)) == 1


def test_after_a_hub_s_answer_the_substitute_is_not_loaded(
    hub: StubHub, make_captioner: Callable[..., Captioner]
) -> None:
    hub.down = Refusal(403)
    captioner = make_captioner(model=None)
    with pytest.raises(ModelUnavailable):
        captioner.load()
    hub.close()
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        captioner.load()
    assert captioner.name == "none"


def test_a_named_model_is_loaded_once_the_hub_is_reachable(
    hub: StubHub, start_hub: Callable[..., StubHub], make_captioner: Callable[..., Captioner]
) -> None:
    hub.close()
    captioner = make_captioner(model=DEFAULT_MODEL)
    captioner.load_in_background()
    wait_until(lambda: "cannot be reached" in str(captioner.problem))
    start_hub(hub.folder, port=hub.port)
    wait_until(lambda: captioner.problem is None)
    assert captioner.name == DEFAULT_MODEL


def test_a_caption_does_not_wait_for_a_running_download(hub: StubHub, make_captioner: Callable[..., Captioner]) -> None:
    hub.down = Refusal(404)
    captioner = make_captioner(model=None)
    with pytest.raises(ModelUnavailable):
        captioner.load()
    hub.stalls, hub.down = True, None
    captioner.load_in_background()
    hub.wait_for("file")
    began = time.monotonic()
    with pytest.raises(ModelUnavailable):
        captioner.caption([IMAGE], SETTINGS)
    assert time.monotonic() - began < 1
    hub.refuse()  # ends the stalled download


def test_load_with_patience_waits_for_the_hub(hub: StubHub, make_captioner: Callable[..., Captioner]) -> None:
    hub.refusals["info"].extend([Refusal(404)] * 2)
    captioner = make_captioner(model=None)
    captioner.load(patience=30)
    assert captioner.name == DEFAULT_MODEL


def test_the_hub_s_retry_after_is_passed_on_to_clients(hub: StubHub, make_captioner: Callable[..., Captioner]) -> None:
    hub.down = Refusal(503, retry_after="90")
    captioner = make_captioner(model=None)
    with pytest.raises(ModelUnavailable):
        captioner.load()
    with pytest.raises(ModelUnavailable) as refused:
        captioner.caption([IMAGE], SETTINGS)
    assert refused.value.retry_after in range(80, 92)


def test_a_further_tokenizer_in_a_folder_is_downloaded_also_into_an_incomplete_snapshot(
    start_hub: Callable[..., StubHub],
    make_captioner: Callable[..., Captioner],
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_instructblip(tmp_path / "instructblip")
    settings = GenerationSettings(max_new_tokens=8, num_beams=1, prompt="a picture of")
    expected = make_captioner(model=str(folder)).caption([IMAGE], settings)
    monkeypatch.setenv("HF_ENDPOINT", start_hub(folder, model="salesforce/instructblip").url)
    assert make_captioner(model="salesforce/instructblip").caption([IMAGE], settings) == expected
    (further,) = cache.rglob("qformer_tokenizer")
    shutil.rmtree(further)
    assert make_captioner(model="salesforce/instructblip").caption([IMAGE], settings) == expected


def test_a_broken_repository_is_not_retried(
    hub: StubHub, repository: Path, make_captioner: Callable[..., Captioner]
) -> None:
    (repository / "pytorch_model.bin").unlink()
    captioner = make_captioner(model=None)
    for _ in range(2):
        with pytest.raises(CaptionerUnavailable) as failed:
            captioner.load(patience=30)
        assert not isinstance(failed.value, ModelUnavailable)
    assert [kind for kind, _ in hub.asked].count("info") == 1


def test_offline_the_substitute_serves_with_one_warning(
    make_captioner: Callable[..., Captioner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    captioner = make_captioner(model=None)
    captioner.load()
    assert captioner.name == EMBEDDED
    assert captioner.note is not None
    assert captioner.note.startswith(f"{DEFAULT_MODEL} could not be downloaded: captions come from the small embedded")


def test_while_the_substitute_serves_the_warning_is_repeated(
    make_captioner: Callable[..., Captioner], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    captioner = make_captioner(model=None)
    monkeypatch.setattr(captioner._reminder, "_interval", 0.05)
    captioner.load()
    wait_until(lambda: sum(record.getMessage() == captioner.note for record in caplog.records) >= 2)
