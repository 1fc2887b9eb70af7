"""Small random checkpoints in the layouts of the hub."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import GPT2Tokenizer, SwinConfig, ViTImageProcessorPil

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.checkpoints import hub
from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL, DEFAULT_REVISION, EMBEDDED, EMBEDDED_FOLDER
from flaskapp.captioner.checkpoints.load import load
from flaskapp.errors import CaptionerUnavailable
from tests.captioner.layouts.files import write_json
from tests.captioner.layouts.gpt2 import write_beit_gpt2
from tests.captioner.layouts.plain import Plain, sample_images
from tests.captioner.tiny import make_model, small_vit, write_like_the_hub

PICTURE = np.zeros((40, 50, 3), np.uint8)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set an empty hub cache and an unreachable hub. Return the cache's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put_into_cache(cache: Path, folder: Path) -> None:
    repository = cache / ("models--" + DEFAULT_MODEL.replace("/", "--"))
    shutil.copytree(folder, repository / "snapshots" / DEFAULT_REVISION)


def test_a_checkpoint_in_the_hub_s_layout_captions_like_the_saved_model(tmp_path: Path) -> None:
    model = make_model(small_vit())
    folder = write_like_the_hub(tmp_path / "tiny", model)
    assert not (folder / "generation_config.json").exists()

    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder)))
    ((caption,),) = captioner.caption([PICTURE], GenerationSettings(max_length=8, num_beams=8))

    pixels = ViTImageProcessorPil(size={"height": 32, "width": 32})([PICTURE], return_tensors="pt").pixel_values
    tokens = model.generate(pixels, max_length=8, num_beams=8)
    assert caption == GPT2Tokenizer.from_pretrained(folder).decode(tokens[0], skip_special_tokens=True).strip()
    assert caption


def test_a_missing_mask_token_of_an_encoder_is_not_needed(tmp_path: Path) -> None:
    folder = write_beit_gpt2(tmp_path / "beit")
    expected = Plain(folder).generate(sample_images()[0], {"max_new_tokens": 5})
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["use_mask_token"] = True
    write_json(folder / "config.json", config)
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder), deadline=300))
    ((caption,),) = captioner.describe(sample_images()[:1], GenerationSettings(max_new_tokens=5))
    captioner.close()
    assert list(caption.token_ids) == expected


def test_a_folder_s_name_is_its_last_part_without_the_path(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    found = hub.find(str(tmp_path / "my-model"), None)
    assert (found.name, found.folder) == ("my-model", tmp_path / "my-model")


def test_a_missing_folder_is_an_error_and_not_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hub.find(str(tmp_path / "my-model"), None)


def test_a_checkpoint_with_another_encoder_loads(tmp_path: Path) -> None:
    swin = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
    folder = write_like_the_hub(tmp_path / "swin", make_model(swin))
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder)))
    assert captioner.caption([PICTURE], GenerationSettings(max_length=4, num_beams=1))


@pytest.mark.parametrize("spoil", ["delete", "cut", "empty", "forget"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, spoil: str) -> None:
    folder = write_like_the_hub(tmp_path / "tiny", make_model(small_vit()))
    weights = folder / "pytorch_model.bin"
    match spoil:
        case "delete":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:5000])
        case "empty":
            weights.write_bytes(b"")
        case "forget":  # transformers would initialise a missing weight at random
            state = torch.load(weights)
            del state["decoder.transformer.h.0.mlp.c_fc.weight"]
            torch.save(state, weights)
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder)))
    with pytest.raises(CaptionerUnavailable):
        captioner.load()


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = write_like_the_hub(tmp_path / "tiny", make_model(small_vit()))
    proof = tmp_path / "it-ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (proof,)

    for protocol in (2, 4):
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": Attack()}, protocol))
        captioner = Captioner()
        captioner.configure(Configuration(model=str(folder)))
        with pytest.raises(CaptionerUnavailable):
            captioner.load()
        assert not proof.exists()


def test_without_a_setting_or_the_hub_the_embedded_model_serves_with_a_warning(
    offline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert hub.find(None, None).name == EMBEDDED
    assert "EMBEDDED" in caplog.text
    assert not any(offline.rglob("*"))


def test_without_a_setting_a_cached_default_model_is_used(offline: Path, tmp_path: Path) -> None:
    put_into_cache(offline, write_like_the_hub(tmp_path / "tiny", make_model(small_vit())))
    found = hub.find(None, None)
    assert found.name == DEFAULT_MODEL
    assert load(found, torch.float32).model.config.decoder.n_positions == 32


def test_an_interrupted_download_does_not_count_as_cached(offline: Path, tmp_path: Path) -> None:
    folder = write_like_the_hub(tmp_path / "tiny", make_model(small_vit()))
    (folder / "pytorch_model.bin").unlink()
    put_into_cache(offline, folder)
    assert hub.find(None, None).name == EMBEDDED


def test_a_checkpoint_with_code_is_refused_without_a_prompt(tmp_path: Path) -> None:
    folder = write_like_the_hub(tmp_path / "tiny", make_model(small_vit()))
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    preprocessor |= {"auto_map": {"AutoImageProcessor": "attack.Attack"}, "feature_extractor_type": "Attack"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (folder / "attack.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\nclass Attack: pass")
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder)))
    with pytest.raises(CaptionerUnavailable):
        captioner.load()
    assert not (tmp_path / "it-ran").exists()


def test_a_named_model_is_never_substituted(offline: Path) -> None:
    for name in (DEFAULT_MODEL, "someone/else"):
        captioner = Captioner()
        captioner.configure(Configuration(model=name))
        with pytest.raises(CaptionerUnavailable):
            captioner.load()
    assert not any(offline.rglob("*.bin"))


@pytest.mark.parametrize(("precision", "dtype"), [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_weights_are_loaded_in_the_configured_precision(precision: torch.dtype, dtype: torch.dtype) -> None:
    loaded = load(hub.find(EMBEDDED, None), precision)
    assert {weights.dtype for weights in loaded.model.parameters()} == {dtype}
    assert not loaded.model.training


def test_the_embedded_weights_are_at_most_5_megabytes_of_safetensors() -> None:
    files = {file.name: file.stat().st_size for file in EMBEDDED_FOLDER.iterdir()}
    assert files["model.safetensors"] <= 5_000_000
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
