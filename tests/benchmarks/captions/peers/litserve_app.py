"""LitServe with dynamic batches of up to 8."""

import sys
from typing import Any, cast

import litserve
from fastapi import Request

from tests.benchmarks.captions.peers.model import Model


class CaptionAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request: Request) -> bytes:
        """LitServe reads the annotation: for a Request it passes the form."""
        content: bytes = cast(Any, request)["data"].file.read()
        return content

    def predict(self, files: list[bytes]) -> list[str]:
        return self.model.caption(files)

    def encode_response(self, caption: str) -> dict[str, str]:
        return {"caption": caption}


if __name__ == "__main__":
    api = CaptionAPI(max_batch_size=8, batch_timeout=0.05, api_path="/caption/")
    litserve.LitServer(api, accelerator="cpu", timeout=600).run(port=int(sys.argv[1]), generate_client_file=False)
