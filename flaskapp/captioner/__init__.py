"""Captions for images. `captioner` is the one object that every view uses."""

from flaskapp.captioner.service import Captioner, Configuration
from flaskapp.captioner.generation import GenerationSettings

__all__ = ["Captioner", "Configuration", "GenerationSettings", "captioner"]

captioner = Captioner()
