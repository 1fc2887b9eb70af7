"""The precision of a model. `auto` chooses it by the instructions of the CPU or GPU."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import torch

AUTO = "auto"


@dataclass(frozen=True)
class CpuCapabilities:
    """The instructions of a CPU that decide the precision."""

    avx512: bool = False
    vnni: bool = False  # int8 dot products: AVX512_VNNI or AVX-VNNI
    avx512_bf16: bool = False
    amx_bf16: bool = False

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> "CpuCapabilities":
        """Read the flags of `torch.cpu.get_capabilities`, which differ by architecture."""
        return cls(
            avx512=bool(flags.get("avx512_f")),
            vnni=bool(flags.get("avx512_vnni") or flags.get("avx_vnni")),
            avx512_bf16=bool(flags.get("avx512_bf16")),
            amx_bf16=bool(flags.get("amx_bf16")),
        )

    @classmethod
    def detect(cls) -> "CpuCapabilities":
        """Detect this machine's capabilities. VNNI and bf16 count only if oneDNN uses them.

        ONEDNN_MAX_CPU_ISA may forbid both. PyTorch has no public function that says so.
        """
        found = cls.of(torch.cpu.get_capabilities())
        if not has_onednn():
            return replace(found, vnni=False, avx512_bf16=False, amx_bf16=False)
        if not int8_sums_are_exact():
            found = replace(found, vnni=False)
        uses_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return found if uses_bf16 else replace(found, avx512_bf16=False, amx_bf16=False)

    @property
    def has_bf16(self) -> bool:
        """Whether matrix products are faster in bfloat16 than in float32."""
        return self.avx512_bf16 or self.amx_bf16


def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN, whose operators compute int8 and bf16 on a CPU."""
    return torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call, no-any-return]


@cache
def has_amx() -> bool:
    """Whether oneDNN multiplies bfloat16 with AMX."""
    return CpuCapabilities.detect().amx_bf16


@cache
def int8_sums_are_exact() -> bool:
    """Whether oneDNN sums products of uint8 and int8 in 32 bits, as VNNI and AMX do.

    Without them, pairs of products are summed in 16 bits, and saturate if the inputs have all 8 bits.
    """
    inputs, largest = 64, torch.tensor(127, dtype=torch.int8)
    product = torch.ops.onednn.qlinear_pointwise(
        torch.full((1, inputs), 255, dtype=torch.uint8),
        1.0,
        0,
        torch.ops.onednn.qlinear_prepack(largest.repeat(16, inputs), None),
        torch.ones(16),
        torch.zeros(16, dtype=torch.int64),
        None,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )
    return bool((product == 255 * 127 * inputs).all())


class Precision(NamedTuple):
    """A precision, and why `auto` chose it. `reason` is None if the setting names the precision."""

    name: str
    reason: str | None = None


def resolve(setting: str, device: torch.device) -> Precision:
    """Resolve the setting to a precision for a device of this machine."""
    if setting != AUTO:
        return Precision(setting)
    if device.type == "cuda":
        return choose_for_gpu(torch.cuda.get_device_capability(device))
    return choose_for_cpu(CpuCapabilities.detect())


def choose_for_cpu(capabilities: CpuCapabilities) -> Precision:
    """Choose bf16 if the CPU multiplies it: it changes the fewest captions. Else int8 if it is faster than fp32.

    int8 runs at these multiples of fp32's speed, with 1 and 8 images and the default model's size, on one core of Zen 4
    with oneDNN limited by ONEDNN_MAX_CPU_ISA: 2.7 and 2.3 with VNNI, 1.7 and 1.5 with AVX-512 alone, 1.0 and 0.85 with
    AVX2.
    """
    if capabilities.has_bf16:
        return Precision("bf16", f"the CPU has {'AMX' if capabilities.amx_bf16 else 'AVX512_BF16'}")
    if capabilities.vnni or capabilities.avx512:
        found = "VNNI" if capabilities.vnni else "AVX-512"
        return Precision("int8", f"the CPU has {found}, but neither AVX512_BF16 nor AMX")
    return Precision("fp32", "the CPU has neither AMX nor AVX-512 nor VNNI")


def choose_for_gpu(compute_capability: tuple[int, int]) -> Precision:
    """Choose bf16 if tensor cores multiply it: from NVIDIA's Ampere (8.0) on."""
    version = ".".join(map(str, compute_capability))
    if compute_capability >= (8, 0):
        return Precision("bf16", f"the GPU has compute capability {version}")
    return Precision("fp32", f"the GPU has compute capability {version}, and bf16 needs 8.0")


def attention_dtype(precision: str, dtype: torch.dtype) -> torch.dtype:
    """Return the attention dtype: bfloat16 with int8 or bf16 weights on a CPU that multiplies it; half the bytes."""
    return torch.bfloat16 if precision in ("int8", "bf16") and CpuCapabilities.detect().has_bf16 else dtype


def max_encoder_pixels(precision: str, device: torch.device) -> int:
    """Return the most pixels (height x width) that all images of one encoder call may have. A larger image is alone.

    In fp32 on a CPU, single images are fastest: their activations stay in the cache. On two cores of a Xeon with AMX, a
    bf16 call with eight images of 224 x 224 takes 3/4 of the time of eight calls, because oneDNN divides smaller bf16
    products badly among threads. An int8 call with two takes 5/6 of the time of two calls. Not measured without AMX.
    """
    if device.type != "cpu":
        return sys.maxsize
    if precision == "bf16" and not CpuCapabilities.detect().has_bf16:
        return 0
    return {"bf16": 450_000, "int8": 110_000}.get(precision, 0)
