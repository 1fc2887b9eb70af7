"""The size to which an image processor resizes images."""

import math
from typing import Any

# Attributes of processors that tile the image, keep its resolution or crop it before they resize.
NATIVE_RESOLUTION = (
    "patch_size",  # Qwen2-VL, Pixtral, SigLIP 2
    "merge_size",
    "min_pixels",
    "max_pixels",
    "max_patches",  # Pix2Struct, GOT-OCR 2
    "max_num_patches",
    "max_image_tiles",  # Mllama
    "image_grid_pinpoints",  # LLaVA-NeXT
    "crop_to_patches",
    "do_image_splitting",  # Idefics3, SmolVLM
    "do_pan_and_scan",  # Gemma 3
    "do_crop_margin",  # Nougat
    "high_res_size",  # DeepSeek-VL hybrid
)
SIDES = ("height", "width", "shortest_edge", "longest_edge")


def input_side(processor: Any) -> int | None:
    """Return the longest side, in pixels, to which `processor` resizes every image before it crops.

    None: the processor does not resize to one size, or its configuration does not name the size.
    """
    if not getattr(processor, "do_resize", False) or any(getattr(processor, name, None) for name in NATIVE_RESOLUTION):
        return None
    size = getattr(processor, "size", None)
    if isinstance(size, int):
        return size
    if size is None or any(size.get(name) for name in NATIVE_RESOLUTION):
        return None
    side = max((size.get(name) or 0 for name in SIDES), default=0)
    # ConvNeXt and PoolFormer resize to size / crop_pct and then crop to size.
    return math.ceil(side / (getattr(processor, "crop_pct", None) or 1)) or None
