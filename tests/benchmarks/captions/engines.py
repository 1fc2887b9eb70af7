"""The engine alone, in this process, without a batcher or a server."""

from pathlib import Path

import torch
from torch import Tensor

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.checkpoints.hub import Checkpoint
from flaskapp.captioner.checkpoints.load import LoadedCheckpoint, load
from flaskapp.captioner.engine.engine import Engine

SETTINGS = GenerationSettings(max_length=16, min_length=16, num_beams=8)
PRECISIONS = {"fp32": 4, "bf16": 2, "int8": 1}  # bytes of a weight


def load_checkpoint(folder: Path) -> LoadedCheckpoint:
    return load(Checkpoint(folder.name, folder), torch.float32)


def load_engine(folder: Path, precision: str) -> Engine:
    return Engine(load_checkpoint(folder), precision, torch.device("cpu"))


def caption(engine: Engine, pixels: Tensor, settings: GenerationSettings = SETTINGS) -> list[list[int]]:
    """Return the token ids of each image's best caption. The images form one batch."""
    searches = engine.add(list(pixels), [engine.resolve(settings)] * len(pixels))
    while engine.running:
        engine.step()
    return [search.results[0].token_ids for search in searches]
