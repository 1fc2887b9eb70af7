import json
from pathlib import Path

import pytest

from flaskapp.captioner.checkpoints.files import (
    BrokenRepository,
    choose_others,
    choose_weights,
    find_missing,
    list_decisive,
)

NEEDED = [
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
    "source.spm", "qwen.tiktoken", "bpe.codes", "chat_template.jinja", "additional_chat_templates/tools.jinja",
    "qformer_tokenizer/tokenizer.json", "qformer_tokenizer/vocab.txt",
]  # fmt: skip
NOT_NEEDED = [
    "README.md", "readme.txt", "modeling_own.py", "example.jpg", "onnx/model.onnx", "onnx/config.json", "tf_model.h5",
    "flax_model.msgpack", "model.gguf", "training_args.bin", "optimizer.pt", ".gitattributes", "1_Pooling/config.json",
    "qformer_tokenizer/model.safetensors", "onnx/qformer_tokenizer/tokenizer.json", "openvino_tokenizer.xml",
]  # fmt: skip
SMALL = {"config.json": "{}", "preprocessor_config.json": "{}", "tokenizer.json": "{}"}
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(SMALL.get(name, json.dumps(INDEX)))
    return folder


def test_files_of_configurations_tokenizers_and_processors_are_needed() -> None:
    assert choose_others(NEEDED + NOT_NEEDED) == NEEDED


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "model.safetensors.index.json"], "model.safetensors.index.json"),
        (["pytorch_model.bin", "tf_model.h5"], "pytorch_model.bin"),
        (["pytorch_model.bin.index.json", "model.fp16.safetensors"], "pytorch_model.bin.index.json"),
    ],
)
def test_safetensors_are_preferred_to_pickles(files: list[str], chosen: str) -> None:
    assert choose_weights(files) == chosen


def test_a_repository_without_pytorch_weights_is_broken() -> None:
    with pytest.raises(BrokenRepository, match=r"model\.safetensors"):
        choose_weights(["flax_model.msgpack", "model.gguf"])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, *SMALL, "model.safetensors.index.json", "model-00001-of-00002.safetensors")
    assert find_missing(folder, None) == ["model-00002-of-00002.safetensors"]
    write(folder, "model-00002-of-00002.safetensors")
    assert find_missing(folder, None) == []


def test_each_file_missing_from_the_hub_s_list_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, *SMALL, "model.safetensors")
    assert find_missing(folder, [*SMALL, "model.safetensors", "README.md", "spiece.model"]) == ["spiece.model"]


@pytest.mark.parametrize("name", [*SMALL, "model.safetensors"])
def test_without_a_list_a_file_that_every_model_needs_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, *SMALL, "model.safetensors")
    (folder / name).unlink()
    assert find_missing(folder, None) == [name]


def test_a_missing_file_of_a_further_tokenizer_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, *SMALL, "model.safetensors")
    listing = [*SMALL, "model.safetensors", "qformer_tokenizer/tokenizer.json"]
    assert find_missing(folder, listing) == ["qformer_tokenizer/tokenizer.json"]


def test_files_of_a_further_tokenizer_affect_captions(tmp_path: Path) -> None:
    folder = write(tmp_path, *SMALL, "model.safetensors")
    (folder / "qformer_tokenizer").mkdir()
    (folder / "qformer_tokenizer" / "vocab.txt").write_text("a")
    names = [path.relative_to(folder).as_posix() for path in list_decisive(folder)]
    assert names == [*sorted([*SMALL, "model.safetensors"])[:3], "qformer_tokenizer/vocab.txt", "tokenizer.json"]
