"""What the settings say of the captioner."""

from dataclasses import dataclass, field

from flaskapp.captioner.generation import GenerationSettings


@dataclass(frozen=True)
class Configuration:
    """The settings that begin with CAPTIONER_, by the rest of their names."""

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    max_batch: int = 16  # images
    queue: int = 64  # images
    deadline: int = 30  # seconds
    cache_mb: int = 0  # 0: captions are not kept
    defaults: GenerationSettings = field(default_factory=GenerationSettings)  # for what a request does not say
