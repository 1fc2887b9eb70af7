"""Check that a layout's random captions are fit for comparisons, print them, and find fit seeds.

python -m tests.captioner.layouts.check NAME...          all layouts if no name is given
python -m tests.captioner.layouts.check NAME --seeds 20  find the first fit seed of 20
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers.utils import logging

from tests.captioner.layouts.plain import WAYS, Plain, sample_images
from tests.captioner.layouts.table import LAYOUTS, VARIANTS, Layout

Answers = dict[tuple[str, int], list[int]]


def answers(plain: Plain, layout: Layout, ways: Iterable[str] = WAYS) -> Answers:
    """Return {(way, image number): token ids}."""
    return {
        (way, number): plain.generate(image, plain.settings(way), layout.prompt)
        for number, image in enumerate(sample_images())
        for way in ways
    }


def variety_faults(found: Answers) -> list[str]:
    problems = []
    captions = [found["defaults", number] for number in range(4)]
    if len({tuple(ids) for ids in captions}) < 3:
        problems.append("the images have the same captions")
    if sum(len(set(ids)) for ids in captions) < 4 * 4:
        problems.append("captions repeat themselves or are short")
    return problems


def faults(found: Answers, ends: set[int], *, always_ends: bool = False) -> list[str]:
    """Return why captions are unfit: repetition, equal captions for all images, or captions that never end.

    `always_ends`: the checkpoint forces the end token at the maximum length.
    """
    problems = variety_faults(found)
    ended = [way for (way, _), ids in found.items() if ids[-1] in ends]
    if len(ended) < len(found) / 3:
        problems.append(f"only {len(ended)} of {len(found)} captions end")
    if len(ended) == len(found) and not always_ends:
        problems.append("no caption is cut off")
    return problems


def precise_model(folder: Path, layout: Layout) -> Plain:
    """Return the model in float64, or for Kosmos-2, which lacks float64, with weights changed by one in a million."""
    try:
        plain = Plain(folder, torch.float64)
        plain.generate(sample_images()[0], {"max_new_tokens": 1}, layout.prompt)
    except RuntimeError:
        plain = Plain(folder)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in plain.model.parameters():
                weight *= 1 + 1e-6 * torch.randn(weight.shape, generator=generator)
    return plain


def examine(layout: Layout, folder: Path, *, silent: bool = False) -> list[str]:
    plain = Plain(folder)
    found = answers(plain, layout, ["defaults"] if silent else WAYS)
    if silent and not variety_faults(found):
        found = answers(plain, layout)
    if not silent:
        for (way, number), ids in sorted(found.items()):
            print(f"  {way:9}{number} {ids} {plain.text(ids)!r}")
    generation = plain.model.generation_config
    end = generation.eos_token_id
    end = plain.model.config.text_config.sep_token_id if plain.kind == "blip" else end
    ends = set(end if isinstance(end, list) else [end])
    problems = faults(found, ends, always_ends=generation.forced_eos_token_id is not None)
    if not problems or layout in VARIANTS:
        found = answers(plain, layout)
        precise = answers(precise_model(folder, layout), layout)
        problems += [
            f"near tie: {way} of image {number}" for way, number in found if found[way, number] != precise[way, number]
        ]
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # more threads are slower with tiny models
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    failed = False
    for name in options.names or LAYOUTS:
        layout = LAYOUTS[name]
        if layout.needs is not None and find_spec(layout.needs) is None:
            print(f"{name}: needs {layout.needs}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(options.seeds):
                problems = examine(layout, layout.write(Path(folder) / f"{seed}", seed=seed), silent=True)
                print(f"{name} seed {seed}: {'; '.join(problems) or 'fit'}")
                if not problems:
                    break
            if not options.seeds:
                problems = examine(layout, layout.write(Path(folder) / name))
                print(f"{name}: {'; '.join(problems) or 'fit'}")
                failed |= bool(problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
