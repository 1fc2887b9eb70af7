"""Images in memory: file -> upright 8-bit sRGB pixels -> resized -> file."""

from flaskapp.images.encoded import EncodedImage
from flaskapp.images.formats import FORMATS, MEDIA_TYPES
from flaskapp.images.picture import ENDINGS, Picture, encode, resize

__all__ = ["ENDINGS", "FORMATS", "MEDIA_TYPES", "EncodedImage", "Picture", "encode", "resize"]
