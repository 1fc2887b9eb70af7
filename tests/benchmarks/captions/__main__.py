"""Compare captions a second in one run: `python -m tests.benchmarks.captions`, about three hours on two cores.

--part in-process   the engine against transformers' `generate`, batches of 1, 4, 8 and 16 images
--part precision    fp32, bf16 and int8 in one process: speed, and the share of tokens equal to those of fp32
--part roofline    multiplications and weights a second, against the processor's best
--part http         the server against FastAPI + uvicorn, LitServe, BentoML and ONNX Runtime: 1, 16 and random clients,
                    photographs
--part others       the same without ONNX Runtime for BLIP and TrOCR, 16 clients
--part batching     the batcher against the engine alone, and images that join a running batch against waiting ones
--part neighbours   a single client while other processes use the cores
--part memory       one worker against four: memory that is not shared, and seconds to the first caption
--paper             an estimate for processors with many cores
"""

import argparse
import tempfile
from pathlib import Path

import flaskapp.captioner  # noqa: F401  (before torch: it limits the spins of OpenMP, as in a server)
from flaskapp.machine import usable_cores
from tests.benchmarks.captions import (
    batching,
    checkpoints,
    in_process,
    many_cores,
    memory,
    neighbours,
    over_http,
    precision,
    roofline,
)

DEFAULT, OTHERS = "vit-gpt2", ("blip-base", "trocr-base")
PARTS = {
    "in-process": (in_process.run, (DEFAULT, *OTHERS)),
    "precision": (precision.run, (DEFAULT,)),
    "roofline": (roofline.run, (DEFAULT,)),
    "batching": (batching.run, (DEFAULT,)),
    "http": (over_http.run, (DEFAULT,)),
    "others": (over_http.run_others, OTHERS),
    "neighbours": (neighbours.run, (DEFAULT,)),
    "memory": (memory.run, (DEFAULT,)),
}
PAPER = many_cores.run, (DEFAULT,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated; default: all")
    parser.add_argument("--paper", action="store_true", help="only estimate, from a batch on one core and on all")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the best counts for each server")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint for --part precision, instead of a generated one")
    options = parser.parse_args()
    print(processor())
    with tempfile.TemporaryDirectory() as folder:
        parts = [PAPER] if options.paper else [PARTS[part] for part in options.part or PARTS]
        for run, names in parts:
            for name in names:
                checkpoint = options.checkpoint or Path(folder) / name
                if not checkpoint.exists():
                    checkpoints.write(name, checkpoint)
                run(checkpoint, options.rounds)


def processor() -> str:
    """Return a description of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = {name.strip(): value for name, _, value in (line.partition(": ") for line in lines)}
    flags = set(known.get("flags", "").split()) & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"}
    name, family, model = (known.get(key, "?") for key in ("model name", "cpu family", "model"))
    return f"{name}, family {family}, model {model}, {usable_cores()} cores: {', '.join(sorted(flags))}"


if __name__ == "__main__":
    main()
