"""BentoML with adaptive batches of up to 8."""

from pathlib import Path

import bentoml

from tests.benchmarks.captions.peers.model import Model


@bentoml.service(workers=1, traffic={"timeout": 600})
class CaptionService:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=600_000, route="/batch")
    def batch(self, data: list[Path]) -> list[str]:
        return self.model.caption([file.read_bytes() for file in data])
