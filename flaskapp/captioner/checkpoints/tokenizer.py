"""Loads a checkpoint's tokenizer, and checks that it fits the decoder.

From a folder without a vocabulary, transformers makes an empty tokenizer: every caption would be empty.
"""

import json
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer

from flaskapp.errors import UnusableCheckpoint

# Largest relative difference of the two vocabularies: heads are padded, and added tokens were not always trained.
TOLERANCE = 0.25

NO_CLASS = "without tokenizer.json, its tokenizer_config.json must name a tokenizer_class that transformers has"

# Packages that transformers' tokenizers may need: import name -> name for pip.
PACKAGES = {
    "sentencepiece": "sentencepiece",
    "tiktoken": "tiktoken",
    "google.protobuf": "protobuf",
    "fugashi": "fugashi",
    "unidic_lite": "unidic-lite",
    "unidic": "unidic",
    "ipadic": "ipadic",
    "sudachipy": "sudachipy",
    "rhoknp": "rhoknp",
    "sacremoses": "sacremoses",
    "jieba": "jieba",
    "mistral_common": "mistral-common",
}


def load_tokenizer(folder: Path, vocabulary: int) -> Any:
    """Load the tokenizer for a decoder with `vocabulary` tokens.

    Raises UnusableCheckpoint, which names missing files or packages, if it cannot be loaded or does not fit.
    """
    try:
        tokenizer = _load(folder)
    except Exception as error:  # ImportError, ValueError, OSError, and errors of the tokenizers library
        raise UnusableCheckpoint(_explain(folder, error)) from error
    check_tokenizer(tokenizer, folder, vocabulary)
    return tokenizer


def _load(folder: Path) -> Any:
    load = partial(cast(Any, AutoTokenizer).from_pretrained, folder, local_files_only=True, trust_remote_code=False)
    try:
        return load()
    except ModuleNotFoundError:
        # A Japanese tokenizer splits text into words with a further package. Decoding captions does not need it.
        if not _is_japanese(folder):
            raise
        return load(word_tokenizer_type="basic")


def _is_japanese(folder: Path) -> bool:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    return bool(config.get("tokenizer_class") == "BertJapaneseTokenizer")


def check_tokenizer(tokenizer: Any, folder: Path, vocabulary: int) -> None:
    """Raise UnusableCheckpoint if the tokenizer has far fewer or far more tokens than the decoder."""
    size = len(tokenizer)
    if abs(size - vocabulary) <= TOLERANCE * vocabulary:
        return
    problem = f"the tokenizer has {size} tokens, and the decoder {vocabulary}"
    raise UnusableCheckpoint(f"{problem}: {_missing_files(folder) or 'they do not belong together'}")


def _explain(folder: Path, error: Exception) -> str:
    message = " ".join(str(error).split())
    packages = [
        package
        for name, package in PACKAGES.items()
        if re.search(rf"\b{re.escape(name.split('.')[-1])}\b", message) and not _is_installed(name)
    ]
    has_its_files = any(folder.glob("*.model")) or any(folder.glob("*.tiktoken"))
    if "sentencepiece or tiktoken installed" in message and not has_its_files:
        packages, message = [], NO_CLASS  # transformers' text for a tokenizer whose class it does not know
    if packages:
        return f"the tokenizer needs a package that is not installed: pip install {' '.join(packages)}"
    return f"the tokenizer cannot be loaded: {_missing_files(folder) or message}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


# Files of a vocabulary without tokenizer.json: any of these sets.
VOCABULARIES = (("vocab.json", "merges.txt"), ("vocab.txt",), ("*.model",), ("*.tiktoken",))


def _missing_files(folder: Path) -> str | None:
    """Name the missing files of the vocabulary, or return None."""
    if (folder / "tokenizer.json").exists():
        return None
    lacking = [[name for name in names if not any(folder.glob(name))] for names in VOCABULARIES]
    if not all(lacking):
        return None
    begun = [names for names, expected in zip(lacking, VOCABULARIES, strict=True) if len(names) < len(expected)]
    missing = " or ".join(" and ".join(names) for names in begun or lacking)
    return f"tokenizer.json is missing, and so is {missing}"
