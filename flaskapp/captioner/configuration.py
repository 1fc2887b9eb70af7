"""The settings of the captioner."""

from dataclasses import dataclass, field

from flaskapp.captioner.generation import GenerationSettings


@dataclass(frozen=True)
class Configuration:
    """The settings CAPTIONER_…, without that prefix."""

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    max_batch: int = 16  # images
    queue: int = 64  # images
    deadline: int = 30  # seconds
    cache_mb: int = 0  # 0: no cache
    defaults: GenerationSettings = field(default_factory=GenerationSettings)  # for settings that a request leaves out
