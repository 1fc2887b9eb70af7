"""Captions for images. `captioner` is the one object that every view uses."""

from flaskapp.captioner.engine import Captioner
from flaskapp.captioner.generation import GenerationSettings

__all__ = ["Captioner", "GenerationSettings", "captioner"]

captioner = Captioner()
