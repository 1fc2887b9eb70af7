"""Captions for images. `captioner` is the one object that every view uses."""

from flaskapp.captioner.choice import ChosenCaptioner
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.captioner.service import Captioner
from flaskapp.machine import spin_little

__all__ = ["Captioner", "Configuration", "GenerationSettings", "captioner"]

spin_little()  # torch is imported later
captioner = ChosenCaptioner()
