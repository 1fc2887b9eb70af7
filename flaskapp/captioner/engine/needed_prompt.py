"""Finds out whether a model needs a prompt: neither its configuration nor its processor says so."""

import numpy as np

from flaskapp.captioner.checkpoints.inputs import ModelInputs
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.generation import GenerationSettings

EXAMPLE = "Describe this image"
SIDE = 224  # pixels of the image's sides


def find_needed_prompt(engine: Engine, inputs: ModelInputs) -> str | None:
    """Return an example of a prompt if the model captions an image only with one.

    Return None if it needs none, or fails also with one. Some models need their image token in the prompt.
    """
    silent = engine.defaults.effective
    if inputs.encode_prompt is None or silent.prompt is not None or silent.fallback is None:
        return None
    examples = [EXAMPLE, *([f"{inputs.image_token} {EXAMPLE}"] if inputs.image_token else [])]
    return next((prompt for prompt in (None, *examples) if _captions(engine, inputs, prompt)), None)


def _captions(engine: Engine, inputs: ModelInputs, prompt: str | None) -> bool:
    """Whether the model generates a token for a grey image."""
    try:
        image = inputs.preprocess(np.full((SIDE, SIDE, 3), 128, np.uint8))
        engine.generate([image], engine.resolve(GenerationSettings(prompt=prompt, max_new_tokens=1)))
    except Exception:  # models that miss the prompt fail in many ways
        return False
    return True
