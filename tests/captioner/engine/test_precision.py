"""The choice of `auto`: the rule for each kind of processor, and the detection on this one."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER
from flaskapp.captioner.embedded.evaluate import caption_scenes
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.engine.linear import PackedLinear
from flaskapp.captioner.engine.precision import CpuCapabilities, choose_for_cpu, choose_for_gpu, max_encoder_pixels
from flaskapp.captioner.loading import load
from flaskapp.errors import InvalidSetting
from tests.benchmarks.captions import precision
from tests.benchmarks.captions.engines import load_checkpoint
from tests.captioner.layouts.plain import sample_images
from tests.captioner.layouts.table import LAYOUTS

# Flags of `torch.cpu.get_capabilities` by kind of processor.
AVX2 = {"avx2": True, "avx512_f": False, "avx512_vnni": False, "avx512_bf16": False, "amx_bf16": False}
AVX512 = AVX2 | {"avx512_f": True}
VNNI = AVX512 | {"avx512_vnni": True}
BF16 = VNNI | {"avx512_bf16": True}
AMX = BF16 | {"amx_tile": True, "amx_bf16": True, "amx_int8": True}
ARM = {"architecture": "aarch64", "neon": True, "bf16": True}
SHARES = {"bf16": 0.99, "int8": 0.98}  # minimum share of captions equal to fp32's
SCENES = 300


@pytest.mark.parametrize(
    ("flags", "name", "reason"),
    [
        (AVX2, "fp32", "the CPU has neither AMX nor AVX-512 nor VNNI"),
        (AVX512, "int8", "the CPU has AVX-512, but neither AVX512_BF16 nor AMX"),
        (ARM, "fp32", "the CPU has neither AMX nor AVX-512 nor VNNI"),
        (AVX2 | {"avx_vnni": True}, "int8", "the CPU has VNNI, but neither AVX512_BF16 nor AMX"),
        (VNNI, "int8", "the CPU has VNNI, but neither AVX512_BF16 nor AMX"),
        (BF16, "bf16", "the CPU has AVX512_BF16"),
        (AMX, "bf16", "the CPU has AMX"),
        (AVX512 | {"amx_bf16": True}, "bf16", "the CPU has AMX"),
    ],
)
def test_auto_follows_the_cpu_s_capabilities(flags: dict[str, object], name: str, reason: str) -> None:
    assert choose_for_cpu(CpuCapabilities.of(flags)) == (name, reason)


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")]
)
def test_auto_is_bf16_on_gpus_with_bf16_arithmetic(capability: tuple[int, int], name: str) -> None:
    assert choose_for_gpu(capability).name == name


def test_bf16_forbidden_to_onednn_is_no_capability() -> None:
    program = "from flaskapp.captioner.engine.precision import CpuCapabilities as C; print(C.detect().has_bf16)"
    command, limited = [sys.executable, "-c", program], os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    ended = subprocess.run(command, env=limited, capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="/proc/cpuinfo names these flags on x86 alone")
def test_the_detected_capabilities_equal_the_kernel_s() -> None:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    (line, *_) = [line for line in cpuinfo.splitlines() if line.startswith("flags")]
    flags = set(line.split())
    assert CpuCapabilities.detect() == CpuCapabilities(
        avx512="avx512f" in flags,
        vnni=bool({"avx512_vnni", "avx_vnni"} & flags),
        avx512_bf16="avx512_bf16" in flags,
        amx_bf16="amx_bf16" in flags,
    )


def test_auto_is_resolved_at_loading_and_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded", precision="auto"))
    assert captioner.precision is None
    with caplog.at_level(logging.INFO):
        captioner.load()
    name, reason = choose_for_cpu(CpuCapabilities.detect())
    assert (captioner.precision, captioner.precision_reason) == (name, reason)
    (line,) = [message for message in caplog.messages if "PRECISION" in message]
    assert line == f"FLASKAPP_CAPTIONER_PRECISION=auto: the model runs in {name}, as {reason}"
    captioner.close()


def test_a_configured_precision_has_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(Configuration(model="embedded", precision="int8"))
    assert loaded.precision == ("int8", None)
    assert not [message for message in caplog.messages if "PRECISION" in message]


def test_bf16_on_a_cpu_without_its_instructions_captions_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = caption_scenes("embedded", "fp32", 20)
    monkeypatch.setattr(CpuCapabilities, "detect", lambda: CpuCapabilities.of(AVX2))
    assert caption_scenes("embedded", "bf16", 20) == expected
    assert "bf16 is no faster than fp32 on this CPU, which has neither AVX512_BF16 nor AMX" in caplog.messages


@pytest.mark.parametrize(
    ("precision", "has_bf16", "images"), [("fp32", True, 1), ("int8", True, 2), ("bf16", True, 8), ("bf16", False, 1)]
)
def test_a_cpu_encodes_a_few_images_together(
    monkeypatch: pytest.MonkeyPatch, precision: str, has_bf16: bool, images: int
) -> None:
    monkeypatch.setattr(CpuCapabilities, "detect", lambda: CpuCapabilities.of(AMX if has_bf16 else AVX2))
    monkeypatch.setattr("flaskapp.captioner.engine.linear.Bfloat16Linear", PackedLinear)  # also on a CPU without bf16
    engine = Engine(load_checkpoint(EMBEDDED_FOLDER), precision, torch.device("cpu"))
    assert engine.images_per_encoder_call(torch.zeros(3, 224, 224)) == images
    assert engine.images_per_encoder_call(torch.zeros(3, 1280, 960)) == 1


def test_a_gpu_encodes_all_images_together() -> None:
    assert max_encoder_pixels("bf16", torch.device("cuda")) >= 1000 * 1280 * 960


def test_bf16_without_its_instructions_leaves_models_a_dtype_of_their_layers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pix2Struct reads the dtype of the weight of a layer."""
    monkeypatch.setattr(CpuCapabilities, "detect", lambda: CpuCapabilities.of(AVX2))
    captioner = Captioner()
    captioner.configure(Configuration(model=str(LAYOUTS["pix2struct"].write(tmp_path / "model")), precision="bf16"))
    assert all(text for (text,) in captioner.caption(sample_images(), GenerationSettings(max_new_tokens=8)))
    captioner.close()


@pytest.mark.parametrize("name", ["deit-gpt2", "beit-gpt2", "swin-gpt2", "vit-roberta", "blip-base", "donut"])
@pytest.mark.parametrize(("reduced", "error"), [("bf16", 0.06), ("int8", 0.15)])
def test_every_kind_of_encoder_is_close_to_fp32_in_reduced_precision(
    name: str, reduced: str, error: float, tmp_path: Path
) -> None:
    """transformers' own code, which `generate` runs on the same layers, captions as well."""
    folder = LAYOUTS[name].write(tmp_path / name)
    fp32, engine = (precision.load_engine(folder, each) for each in ("fp32", reduced))
    pixels = torch.stack([load_checkpoint(folder).inputs.preprocess(image) for image in sample_images()])
    with torch.inference_mode():
        expected, seen = (each._encode(pixels, lambda: None) for each in (fp32, engine))
    assert seen.dtype == torch.float32
    assert (seen - expected).norm() < error * expected.norm()
    generation = engine.resolve(GenerationSettings(max_new_tokens=4))
    assert len(engine.generate(list(pixels), generation)) == len(pixels)


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(InvalidSetting, match="must be one of auto, fp32, bf16, int8 on cpu"):
        load(Configuration(model="embedded", device="cpu", precision="fp16"))


def test_int8_is_refused_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(InvalidSetting, match="int8 needs oneDNN, which this build of PyTorch lacks"):
        load(Configuration(model="embedded", device="cpu", precision="int8"))


@pytest.mark.parametrize("name", ["vit-gpt2", "trocr-base", "blip-base", "donut"])
def test_bf16_probabilities_are_closer_to_fp32_than_int8_s(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name].write(tmp_path / name)
    fp32, bf16, int8 = (precision.load_engine(folder, each) for each in ("fp32", "bf16", "int8"))
    pixels = torch.stack([load_checkpoint(folder).inputs.preprocess(image) for image in sample_images()])
    captions = precision.caption(fp32, pixels, GenerationSettings(max_length=12, min_length=12, num_beams=1))
    expected = precision.log_probabilities(fp32, pixels, captions)
    ours, theirs = (
        (precision.log_probabilities(engine, pixels, captions) - expected).abs().mean() for engine in (bf16, int8)
    )
    assert 0 < ours < 0.75 * theirs


def test_a_model_of_the_fallback_decoder_captions_in_bf16(tmp_path: Path) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model=str(LAYOUTS["git"].write(tmp_path / "git")), precision="bf16"))
    captions = captioner.caption(sample_images(), GenerationSettings(max_new_tokens=8))
    assert captioner.decoder == "generate"
    assert all(text for (text,) in captions)
    captioner.close()


@pytest.mark.slow
def test_nearly_all_held_out_scenes_have_the_captions_of_fp32() -> None:
    expected = caption_scenes("embedded", "fp32", SCENES)
    for name, share in SHARES.items():
        captions = caption_scenes("embedded", name, SCENES)
        same = sum(ours == theirs for ours, theirs in zip(captions, expected, strict=True))
        assert same >= share * len(expected), name
