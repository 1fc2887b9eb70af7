"""The checkpoint as ONNX files, exported in the environment of the ONNX Runtime peer."""

import subprocess
from pathlib import Path

from tests.benchmarks.process import ONNX_PEERS, ROOT


def exported(checkpoint: Path) -> Path:
    """The folder with the int8 files, beside the checkpoint. The first call exports them."""
    folder = checkpoint.with_name(f"{checkpoint.name}-onnx")
    int8 = folder / "int8"
    if not int8.exists():
        program = [ONNX_PEERS.install() / "python", "-m", "tests.benchmarks.captions.peers.onnx_export"]
        subprocess.run([*program, checkpoint, folder / "fp32", int8], cwd=ROOT, check=True)
    return int8
