"""Count how many held-out scenes a model captions exactly right: `python -m flaskapp.captioner.embedded.evaluate`."""

import argparse

import numpy as np
from tqdm import tqdm

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded.scenes import scene_at

BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="as in the setting CAPTIONER_MODEL")
    parser.add_argument("--precision", default="fp32", help="as in the setting CAPTIONER_PRECISION")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--wrong", action="store_true", help="print each wrong caption below the right one")
    options = parser.parse_args()

    captioner = Captioner()
    captioner.configure(Configuration(model=options.model, precision=options.precision, max_batch=BATCH, deadline=600))
    captioner.load()
    right = 0
    for start in tqdm(range(0, options.scenes, BATCH), unit_scale=BATCH, unit="scene"):
        scenes = [scene_at("held-out", index) for index in range(start, min(start + BATCH, options.scenes))]
        answers = captioner.caption([np.asarray(picture) for picture, _ in scenes], GenerationSettings())
        for (_, expected), (answer,) in zip(scenes, answers, strict=True):
            right += answer == expected
            if options.wrong and answer != expected:
                tqdm.write(f"{expected}\n{answer}\n")
    print(f"{right} of {options.scenes} held-out scenes captioned exactly right: {right / options.scenes:.1%}")


if __name__ == "__main__":
    main()
