"""The precision of a model, and how `auto` chooses it: a rule by what the processor can do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

AUTO = "auto"


@dataclass(frozen=True)
class CpuCapabilities:
    """The instructions of a CPU that the choice depends on."""

    avx512: bool = False
    vnni: bool = False  # int8 dot products: AVX512_VNNI or AVX-VNNI
    avx512_bf16: bool = False
    amx_bf16: bool = False

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> "CpuCapabilities":
        """Capabilities from the flags of `torch.cpu.get_capabilities`, which differ by architecture."""
        return cls(
            avx512=bool(flags.get("avx512_f")),
            vnni=bool(flags.get("avx512_vnni") or flags.get("avx_vnni")),
            avx512_bf16=bool(flags.get("avx512_bf16")),
            amx_bf16=bool(flags.get("amx_bf16")),
        )

    @classmethod
    def detect(cls) -> "CpuCapabilities":
        """The capabilities of this machine, those of bf16 only if oneDNN uses them (ONEDNN_MAX_CPU_ISA may forbid it).

        No public function of PyTorch tells the latter.
        """
        found = cls.of(torch.cpu.get_capabilities())
        uses_bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-untyped-call]
        return found if uses_bf16 else replace(found, avx512_bf16=False, amx_bf16=False)

    @property
    def has_bf16(self) -> bool:
        """Whether products of bfloat16 are faster than those of float32."""
        return self.avx512_bf16 or self.amx_bf16


class Precision(NamedTuple):
    """A precision, and why `auto` chose it. A precision that the setting names has no reason."""

    name: str
    reason: str | None = None


def resolve(setting: str, device: torch.device) -> Precision:
    """The precision that a setting means on a device of this machine."""
    if setting != AUTO:
        return Precision(setting)
    if device.type == "cuda":
        return choose_for_gpu(torch.cuda.get_device_capability(device))
    return choose_for_cpu(CpuCapabilities.detect())


def choose_for_cpu(capabilities: CpuCapabilities) -> Precision:
    """bf16 where the CPU multiplies it, which changes the fewest captions; else int8 where it is faster than fp32.

    Speed of int8 relative to fp32, with 1 and 8 images of the default model's size, on one core of Zen 4 with oneDNN's
    instructions limited by ONEDNN_MAX_CPU_ISA: 2.7 and 2.3 times with VNNI, 1.7 and 1.5 times with AVX-512 alone, 1.0
    and 0.85 times with AVX2.
    """
    if capabilities.has_bf16:
        return Precision("bf16", f"the CPU has {'AMX' if capabilities.amx_bf16 else 'AVX512_BF16'}")
    if capabilities.vnni or capabilities.avx512:
        found = "VNNI" if capabilities.vnni else "AVX-512"
        return Precision("int8", f"the CPU has {found}, but neither AVX512_BF16 nor AMX")
    return Precision("fp32", "the CPU has neither AMX nor AVX-512 nor VNNI")


def choose_for_gpu(compute_capability: tuple[int, int]) -> Precision:
    """bf16 where tensor cores multiply it: from NVIDIA's Ampere (8.0) on."""
    version = ".".join(map(str, compute_capability))
    if compute_capability >= (8, 0):
        return Precision("bf16", f"the GPU has compute capability {version}")
    return Precision("fp32", f"the GPU has compute capability {version}, and bf16 needs 8.0")
