"""Converts pixels of any mode and colour profile to 8-bit sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.createProfile("sRGB")

# Colours that tell whether a profile is sRGB: the corners of the RGB cube, greys, and colours in between.
PROBE = Image.fromarray(
    np.stack(np.meshgrid(*[np.array([0, 40, 128, 210, 255], np.uint8)] * 3, indexing="ij"), axis=-1).reshape(5, 25, 3)
)
ROWS = 256  # rows converted at once: converting all would need four times the memory
TOLERANCE = 2  # of 255; a profile that changes colours by no more is sRGB


def to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit and floating-point grey to 8 bits. Pillow would clip 16-bit values.

    The transparent value of 16-bit grey becomes an alpha channel. Floating-point grey ranges from 0 (black) to 1
    (white) if no value is higher, else from 0 to 255.
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
    """Convert to RGBA if the image has any transparency, else to RGB, using the embedded colour profile."""
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
    except (ImageCms.PyCMSError, OSError, ValueError):  # a broken profile, or one for another mode: ignore it
        return plain
    assert converted is not None  # None only for in-place conversion
    if plain.mode == "RGBA":
        converted.putalpha(plain.getchannel("A"))
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB. Its name does not tell: "linear sRGB" is another colour space."""
    converted = ImageCms.applyTransform(PROBE, transform)
    difference = np.asarray(converted).astype(int) - np.asarray(PROBE)
    return int(np.abs(difference).max()) <= TOLERANCE
