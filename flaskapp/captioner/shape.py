"""The shapes of images that a captioner takes. Needs no torch: web workers check them, too."""

import numpy as np

from flaskapp.errors import UnreadableImage

# Sides' ratio of an image. Many models' preprocessing makes the short side as long as the model wants it.
MOST_NARROW = 200


def check_shape(image: np.ndarray) -> None:
    """Raises UnreadableImage for an image [height, width, 3] that preprocessing would make far larger."""
    height, width, _ = image.shape
    if max(height, width) > MOST_NARROW * min(height, width):
        raise UnreadableImage(f"the image is more than {MOST_NARROW} times as long as it is wide")
