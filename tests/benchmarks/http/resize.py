"""Ways to resize a 12-megapixel JPEG, alternating in one process. `http/__main__.py` provides libvips."""

import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image

from flaskapp import images
from tests.benchmarks.table import print_table
from tests.photograph import photograph

WIDTH, HEIGHT = 4000, 3000
SIDES = (28, 224, 640)
CALLS = 5  # a round


@cache
def jpeg() -> bytes:
    buffer = io.BytesIO()
    photograph(WIDTH, HEIGHT).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def ours(data: bytes, side: int, at_smaller_scale: bool = True) -> bytes:
    picture = images.EncodedImage(data, max_megapixels=50).decode(for_side=side if at_smaller_scale else None)
    return images.encode(images.resize(picture, side, side), "jpeg")


def course(data: bytes, side: int) -> bytes:
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "image.jpg", Path(folder) / "image_resize.jpg"
        source.write_bytes(data)
        cv2.imwrite(str(target), cv2.resize(cv2.imread(str(source)), (side, side)))
        return target.read_bytes()


def pillow_draft(data: bytes, side: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (side, side))
        buffer = io.BytesIO()
        image.resize((side, side), Image.Resampling.BOX).save(buffer, "JPEG", quality=images.QUALITY)
        return buffer.getvalue()


def libvips(data: bytes, side: int) -> bytes:
    import pyvips

    image = pyvips.Image.thumbnail_buffer(data, side, height=side, size="force")
    body: bytes = image.jpegsave_buffer(Q=images.QUALITY)
    return body


WAYS: dict[str, Callable[[bytes, int], bytes]] = {
    "flaskapp": ours,
    "the course's": course,
    "libvips": libvips,
    "Pillow's draft": pillow_draft,
    "in full": partial(ours, at_smaller_scale=False),
}


def main(rounds: int) -> None:
    data = jpeg()
    cv2.setNumThreads(1)  # a server handles one request on each core
    rows = []
    for side in SIDES:
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    way(data, side)
                seconds[name].append((time.perf_counter() - start) / CALLS)
        cells = [f"{1000 * statistics.median(seconds[name]):.1f}" for name in WAYS]
        ratios = [
            statistics.median(theirs / mine for theirs, mine in zip(seconds[name], seconds["flaskapp"], strict=True))
            for name in ("the course's", "libvips")
        ]
        rows.append([f"{side} x {side}", *cells, *(f"{ratio:.2f}x" for ratio in ratios), f"{_loss(data, side):.1f} dB"])
    print_table(
        f"Milliseconds to resize a JPEG of {WIDTH} x {HEIGHT} pixels ({len(data) / 2**20:.1f} MiB)",
        ["to", *WAYS, "times the course's", "times libvips", "PSNR"],
        rows,
    )


def _loss(data: bytes, side: int) -> float:
    """Return the peak signal to noise ratio of an image decoded at a smaller scale and in full, in decibels."""
    encoded = images.EncodedImage(data, max_megapixels=50)
    fast, full = (
        images.resize(encoded.decode(for_side=limit), side, side).pixels.astype(float) for limit in (side, None)
    )
    return float(10 * np.log10(255**2 / np.mean((fast - full) ** 2)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
