"""Detects the format of a file by its first bytes, never by its name or content type."""

import re

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
MEDIA_TYPES = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "heic", "heif", "avif")
ADVICE = f"send {FORMATS}"

SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
}

# Other files that are often sent by mistake, by their first bytes.
UNREAD = {
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"PK\3\4": "a zip archive or an Office document",
    b"PK\5\6": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"8BPS": "a Photoshop document",
    b"\0\0\1\0": "an icon (ICO)",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II+\0": "a BigTIFF",
    b"MM\0+": "a BigTIFF",
    b"\x1aE\xdf\xa3": "a video (WebM or Matroska)",
    b"\0\0\1\xba": "a video (MPEG)",
    b"\0\0\1\xb3": "a video (MPEG)",
    b"ID3": "audio (MP3)",
    b"OggS": "audio or video (Ogg)",
    b"fLaC": "audio (FLAC)",
    b"FUJIFILM": "a raw photograph (RAF)",
    b"IIRO": "a raw photograph (ORF)",
    b"IIU\0": "a raw photograph (RW2)",
    b"SIMPLE  =": "FITS",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
RIFF = {b"AVI ": "a video (AVI)", b"WAVE": "audio (WAV)"}

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
UNREAD_BRANDS = {b"qt  ": "a video (QuickTime)", b"crx ": "a raw photograph (CR3)", b"M4A ": "audio (MP4)"}
BOXES = (b"meta", b"moov")  # a HEIC or AVIF file has one of them, which lists its images

MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(\?xml|!doctype|!--|svg|html|head|body)", re.IGNORECASE)
HEAD = 1024  # first bytes of a file, which contain the first element of an SVG


def format_of(data: bytes) -> str:
    """Return the format's name. Raise UnreadableImage for an empty file, UnsupportedImageFormat for other formats."""
    if not data:
        raise UnreadableImage("the file is empty")
    for signature, format in SIGNATURES.items():
        if data.startswith(signature):
            return format
    if data.startswith(b"RIFF"):
        if data[8:12] == b"WEBP":
            return "webp"
        raise refusal(RIFF.get(data[8:12]))
    if data[4:8] == b"ftyp":
        return _format_of_boxes(data)
    if match := MARKUP.match(data[:HEAD]):
        return _refuse_markup(data[:HEAD].lower(), match[1].lower())
    raise refusal(next((name for signature, name in UNREAD.items() if data.startswith(signature)), None))


def refusal(name: str | None) -> UnsupportedImageFormat:
    """Return the error for a file that is `name`, or unknown."""
    if name is None:
        return UnsupportedImageFormat(f"this is not an image that can be read here: {ADVICE}")
    return UnsupportedImageFormat(f"this is {name}, which cannot be read here: {ADVICE}")


def _format_of_boxes(data: bytes) -> str:
    """HEIC, AVIF and MP4 share a container (ISO 14496-12); its brands tell them apart."""
    size = min(int.from_bytes(data[:4]), HEAD)
    brands = [data[8:12], *(data[start : start + 4] for start in range(16, size, 4))]
    if brands[0] in UNREAD_BRANDS:
        raise refusal(UNREAD_BRANDS[brands[0]])
    if any(brand in AVIF_BRANDS for brand in brands):
        name, format = "an AVIF file without an image", "avif"
    elif any(brand in HEIC_BRANDS for brand in brands):
        name, format = "a HEIC file without an image", "heif"
    else:
        raise refusal("a video (MP4)")
    if not any(box in data for box in BOXES):
        raise refusal(name)
    return format


def _refuse_markup(head: bytes, first: bytes) -> str:
    if b"<svg" in head:
        raise refusal("SVG")
    raise refusal("XML" if first == b"?xml" else "HTML")
