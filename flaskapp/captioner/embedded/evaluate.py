"""Counts the held-out scenes that a model captions exactly right: `python -m flaskapp.captioner.embedded.evaluate`.

With `--precision bf16 --against fp32`, also counts the captions that are equal in both precisions.
"""

import argparse

import numpy as np
from tqdm import tqdm

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded.scenes import scene_at

BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="see the setting FLASKAPP_CAPTIONER_MODEL")
    parser.add_argument("--precision", default="fp32", help="see the setting FLASKAPP_CAPTIONER_PRECISION")
    parser.add_argument("--against", metavar="PRECISION", help="also count the captions that are equal in it")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--wrong", action="store_true", help="print each wrong caption below the right one")
    options = parser.parse_args()

    pairs = caption_scenes(options.model, options.precision, options.scenes)
    right = sum(caption == expected for caption, expected in pairs)
    for caption, expected in pairs:
        if options.wrong and caption != expected:
            print(f"{expected}\n{caption}\n")
    print(f"{right} of {options.scenes} held-out scenes captioned exactly right: {right / options.scenes:.1%}")
    if options.against:
        others = caption_scenes(options.model, options.against, options.scenes)
        same = sum(ours == theirs for ours, theirs in zip(pairs, others, strict=True))
        print(f"{same} of {options.scenes} have the same caption in {options.precision} and {options.against}")


def caption_scenes(model: str, precision: str, number: int) -> list[tuple[str, str]]:
    """Return the captions of the first `number` held-out scenes, each with the right one."""
    captioner = Captioner()
    captioner.configure(Configuration(model=model, precision=precision, max_batch=BATCH, deadline=600))
    pairs = []
    for start in tqdm(range(0, number, BATCH), precision, unit_scale=BATCH, unit="scene"):
        scenes = [scene_at("held-out", index) for index in range(start, min(start + BATCH, number))]
        answers = captioner.caption([np.asarray(picture) for picture, _ in scenes], GenerationSettings())
        pairs += [(caption, expected) for (caption,), (_, expected) in zip(answers, scenes, strict=True)]
    captioner.close()
    return pairs


if __name__ == "__main__":
    main()
