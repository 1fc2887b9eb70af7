"""Pixels of any mode and colour profile -> 8-bit sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.createProfile("sRGB")

# Colours by which a profile is compared with sRGB: the corners of the cube, greys, and some between.
PROBE = Image.fromarray(
    np.stack(np.meshgrid(*[np.array([0, 40, 128, 210, 255], np.uint8)] * 3, indexing="ij"), axis=-1).reshape(5, 25, 3)
)
ROWS = 256  # converted at once: all would need four times the memory
TOLERANCE = 2  # of 255; below it a profile is sRGB's own, rounded


def to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey, which Pillow itself would clip; its transparent value becomes an alpha channel.

    Floating-point grey is taken as 0 (black) to 1 (white), where no value is higher, else as 0 to 255.
    """
    if image.mode == "F":
        values = np.array(image)
        np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0)
        if values.max() <= 1:
            values *= 255
        grey = Image.fromarray(values.clip(0, 255, out=values).round(out=values).astype(np.uint8))
    elif image.mode.startswith("I"):
        wide = np.asarray(image)
        narrow = np.empty(wide.shape, np.uint8)
        for top in range(0, len(wide), ROWS):
            narrow[top : top + ROWS] = (wide[top : top + ROWS].clip(0, 65535).astype(np.uint32) * 255 + 32767) // 65535
        grey = Image.fromarray(narrow)
        if (transparent := image.info.get("transparency")) is not None:
            grey.putalpha(Image.fromarray((wide != transparent).astype(np.uint8) * np.uint8(255)))
    else:
        return image
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGBA if the image has transparency of any kind, else RGB; colours of an embedded profile are converted."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    plain = image if image.mode == mode else image.convert(mode)
    if not profile:
        return plain
    colours = (
        image if image.mode in ("L", "CMYK", "RGB", "LAB") else image.convert("L" if image.mode == "LA" else "RGB")
    )
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, SRGB, colours.mode, "RGB")
        if colours.mode == "RGB" and _changes_nothing(transform):
            return plain
        converted = ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):  # broken, or for other colours than these: show them as they are
        return plain
    assert converted is not None  # it is, unless it works in place
    if plain.mode == "RGBA":
        converted.putalpha(plain.getchannel("A"))
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB's. Its name does not tell: "linear sRGB" is another colour space."""
    converted = ImageCms.applyTransform(PROBE, transform)
    difference = np.asarray(converted).astype(int) - np.asarray(PROBE)
    return int(np.abs(difference).max()) <= TOLERANCE
