"""Export a checkpoint to ONNX with optimum, check its captions, and quantise it: `CHECKPOINT FP32 INT8`, three folders.

Raises if the captions in fp32 differ from those of transformers' `generate`, in a token or in their scores.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTModelForVision2Seq

from tests.benchmarks.captions.images import image
from tests.benchmarks.captions.peers.model import Model

CHECKED = 4  # images
TOLERANCE = 1e-4  # of a caption's score, the mean log-probability of its tokens; int8 differs by 0.02


def main(checkpoint: Path, fp32: Path, int8: Path) -> None:
    # Without post-processing, the decoder's first step and its later steps stay two files, without control flow.
    main_export(str(checkpoint), fp32, task="image-to-text-with-past", no_post_process=True, do_validation=False)
    check(checkpoint, fp32)
    quantise(fp32, int8)


def check(checkpoint: Path, fp32: Path) -> None:
    """Compare tokens and scores: with random weights, tokens alone may be the same by chance."""
    files = [image(number) for number in range(CHECKED)]
    expected, actual = (
        model.generate(files, output_scores=True, return_dict_in_generate=True)
        for model in (Model(checkpoint), Model(fp32, ORTModelForVision2Seq))
    )
    same = torch.equal(actual.sequences, expected.sequences)
    difference = float((actual.sequences_scores - expected.sequences_scores).abs().max())
    if not same or difference > TOLERANCE:
        raise RuntimeError(f"ONNX in fp32 differs from transformers: same tokens: {same}, scores by {difference:.1e}")
    print(f"ONNX in fp32: tokens of {CHECKED} images are those of transformers, scores within {difference:.1e}")


def quantise(fp32: Path, int8: Path) -> None:
    shutil.copytree(fp32, int8, ignore=shutil.ignore_patterns("*.onnx"))
    for model in fp32.glob("*.onnx"):
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / model.name
            quant_pre_process(model, prepared)
            quantize_dynamic(prepared, int8 / model.name, weight_type=QuantType.QInt8, per_channel=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
