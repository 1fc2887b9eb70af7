"""Captions for images. `captioner` is the one object that every view uses."""

from flaskapp.captioner.generation import GenerationSettings
from flaskapp.captioner.service import Captioner, Configuration

__all__ = ["Captioner", "Configuration", "GenerationSettings", "captioner"]

captioner = Captioner()
