"""Lists the files of a repository that a model needs, and those that a folder lacks."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from flaskapp.errors import UnusableCheckpoint

# In transformers' order of preference. An index lists the shards of the weights.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"

# Configurations, and files of tokenizers and processors: vocabularies, merges, SentencePiece models, chat templates.
SUFFIXES = (".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".bpe", ".codes", ".vocab")
CHAT_TEMPLATES = "additional_chat_templates"
FURTHER_TOKENIZER = "_tokenizer"  # end of the name of a folder with a further tokenizer, such as qformer_tokenizer

# Without the hub's list of files, a model needs one file of each of these groups.
GROUPS = (
    ("config.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)


class BrokenRepository(UnusableCheckpoint):
    """The repository lacks weights that transformers reads, or its index of shards is wrong."""


def choose_weights(files: Collection[str]) -> str:
    """Return the file of weights, or the index of shards, that transformers uses. Raise BrokenRepository."""
    for name in WEIGHTS:
        if name in files:
            return name
    raise BrokenRepository("it has neither model.safetensors nor pytorch_model.bin, in one file or in shards")


def choose_others(files: Iterable[str]) -> list[str]:
    """Return the needed files, except weights and an index of shards."""
    return [name for name in files if _is_needed(name)]


def _is_needed(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    is_read = folder in ("", CHAT_TEMPLATES) or ("/" not in folder and folder.endswith(FURTHER_TOKENIZER))
    is_text = file.endswith(SUFFIXES) and not file.endswith(INDEX)
    return is_read and is_text and not file.lower().startswith("readme")


def read_shards(index: Path) -> list[str]:
    """Return the files that an index lists. Raise BrokenRepository."""
    try:
        return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenRepository(f"{index.name} is not an index of shards") from error


def list_read(folder: Path) -> list[Path]:
    """Return the files of a folder and of its folders with further tokenizers."""
    return sorted(path for path in [*folder.iterdir(), *folder.glob(f"*{FURTHER_TOKENIZER}/*")] if path.is_file())


def list_decisive(folder: Path) -> list[Path]:
    """Return the files of a folder that affect its model's captions."""
    return [path for path in list_read(folder) if path.name.endswith((*SUFFIXES, ".safetensors", ".bin"))]


def find_missing(folder: Path, listing: Collection[str] | None) -> list[str]:
    """Return the names of needed files that a snapshot lacks.

    `listing` is the hub's list of files. Without it, check only the files that every model needs, and the shards.
    """
    if listing is None:
        listing = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.exists()]
        lacking = [group[0] for group in GROUPS if not any(name in listing for name in group)]
    else:
        lacking = [name for name in choose_others(listing) if not (folder / name).exists()]
    try:
        weights = choose_weights(listing)
    except BrokenRepository:
        return [*lacking, WEIGHTS[0]]
    if not (folder / weights).exists():
        return [*lacking, weights]
    shards = read_shards(folder / weights) if weights.endswith(INDEX) else []
    return lacking + [name for name in shards if not (folder / name).exists()]
