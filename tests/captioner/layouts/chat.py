"""Chat models: decoder-only models with the image in the prompt."""

import json
from pathlib import Path
from typing import Any

from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from tests.captioner.layouts.bert import CLIP_MEAN, CLIP_STD
from tests.captioner.layouts.files import change_json, write_json, write_saved
from tests.captioner.layouts.prefix import VISION
from tests.captioner.layouts.vocabularies import outside_words, write_byte_level_tokenizer
from tests.captioner.layouts.weights import randomise

ASK = "Can you describe this image?"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip


def write_chat_tokenizer(
    folder: Path, first: list[str], last: list[str], template: str, **changes: Any
) -> dict[str, int]:
    """Write tokenizer.json, its configuration and chat_template.json. Return the vocabulary."""
    vocabulary = write_byte_level_tokenizer(folder, first, last)
    content = {
        "add_prefix_space": False, "clean_up_tokenization_spaces": False, "model_max_length": 2048,
        "tokenizer_class": "GPT2Tokenizer", "chat_template": template,
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", content | changes)
    write_json(
        folder / "special_tokens_map.json", {name: value for name, value in changes.items() if name.endswith("_token")}
    )
    write_json(folder / "chat_template.json", {"chat_template": template})
    return vocabulary


def randomise_as_chat(model: Any, vocabulary: dict[str, int], seed: int, end: int, *, body: Any) -> None:
    never = [number for number in outside_words(vocabulary) if number != end]
    randomise(model, seed, end=end, never=never, head=model.lm_head, last_norm=body.norm)


def write_smolvlm(folder: Path, *, seed: int = 1) -> Path:
    """HuggingFaceTB/SmolVLM-Instruct, an Idefics3: tiled images, a chat template."""
    return _write_smolvlm(folder, "Idefics3", Idefics3Config, Idefics3ForConditionalGeneration, seed)


def write_smolvlm2(folder: Path, *, seed: int = 1) -> Path:
    """HuggingFaceTB/SmolVLM2-256M-Video-Instruct: also takes videos."""
    return _write_smolvlm(folder, "SmolVLM", SmolVLMConfig, SmolVLMForConditionalGeneration, seed)


def _write_smolvlm(folder: Path, name: str, configuration: Any, model_class: Any, seed: int) -> Path:
    folder.mkdir(parents=True)
    template = (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
        "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tiles]
    vocabulary = write_chat_tokenizer(
        folder, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], special, template, bos_token="<|im_start|>",
        eos_token="<end_of_utterance>", pad_token="<|im_end|>", unk_token="<|endoftext|>",
        processor_class=f"{name}Processor",
    )  # fmt: skip
    end = vocabulary["<end_of_utterance>"]
    text = TEXT | {
        "model_type": "llama",
        "vocab_size": len(vocabulary),
        "bos_token_id": 1,
        "eos_token_id": end,
        "pad_token_id": 2,
    }
    config = configuration(
        text_config=text, vision_config=VISION, image_token_id=vocabulary["<image>"], scale_factor=2,
        tie_word_embeddings=False, pad_token_id=2,
    )  # fmt: skip
    model: Any = model_class(config)
    randomise_as_chat(model, vocabulary, seed, end, body=model.model.text_model)
    write_saved(folder, model, "4.46.0")
    ids = {"bos_token_id": 1, "eos_token_id": end, "pad_token_id": 2}
    change_json(folder / "generation_config.json", **ids)
    write_json(folder / "preprocessor_config.json", {
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": f"{name}ImageProcessor",
        "image_std": [0.5, 0.5, 0.5], "max_image_size": {"longest_edge": 64}, "processor_class": f"{name}Processor",
        "resample": 1, "rescale_factor": 1 / 255, "size": {"longest_edge": 128},
    })  # fmt: skip
    write_json(folder / "processor_config.json", {"image_seq_len": 4, "processor_class": f"{name}Processor"})
    return folder


def write_llava(folder: Path, *, seed: int = 0) -> Path:
    """llava-hf/llava-1.5-7b-hf: CLIP and Llama, and a text template."""
    folder.mkdir(parents=True)
    template = (
        "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    vocabulary = write_chat_tokenizer(
        folder, ["<unk>", "<s>", "</s>"], ["<image>", "<pad>"], template, bos_token="<s>", eos_token="</s>",
        pad_token="<pad>", unk_token="<unk>", processor_class="LlavaProcessor",
    )  # fmt: skip
    text = TEXT | {
        "model_type": "llama", "vocab_size": len(vocabulary), "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": vocabulary["<pad>"],
    }  # fmt: skip
    config = LlavaConfig(
        text_config=text, vision_config=VISION | {"model_type": "clip_vision_model"}, tie_word_embeddings=False,
        image_token_index=vocabulary["<image>"], vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    randomise_as_chat(model, vocabulary, seed, 2, body=model.model.language_model)
    write_saved(folder, model, "4.46.0.dev0")
    change_json(folder / "generation_config.json", bos_token_id=1, eos_token_id=2, pad_token_id=vocabulary["<pad>"])
    write_json(folder / "preprocessor_config.json", {
        "crop_size": {"height": 64, "width": 64}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": CLIP_MEAN, "image_processor_type": "CLIPImageProcessor",
        "image_std": CLIP_STD, "processor_class": "LlavaProcessor", "resample": 3, "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 64},
    })  # fmt: skip
    write_json(folder / "processor_config.json", {
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 16,
        "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default",
    })  # fmt: skip
    return folder


def write_llava_untemplated(folder: Path, **options: Any) -> Path:
    """Write LLaVA as saved before chat templates: prompts contain the image token."""
    write_llava(folder, **options)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "chat_template.json").unlink()
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def write_llava_for_text(folder: Path, **options: Any) -> Path:
    """Write LLaVA with its language model's template, which takes texts, not lists of parts."""
    write_llava(folder, **options)
    template = "{% for message in messages %}USER: {{ message['content'] }} {% endfor %}ASSISTANT:"
    change_json(folder / "tokenizer_config.json", chat_template=template)
    write_json(folder / "chat_template.json", {"chat_template": template})
    return folder


def write_qwen2_vl(folder: Path, *, seed: int = 1) -> Path:
    """Qwen/Qwen2-VL-2B-Instruct: images of any size, rotary positions in three dimensions."""
    folder.mkdir(parents=True)
    template = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    special = [
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
        "<|image_pad|>", "<|video_pad|>",
    ]  # fmt: skip
    vocabulary = write_chat_tokenizer(
        folder, [], special, template, tokenizer_class="Qwen2Tokenizer", bos_token=None, eos_token="<|im_end|>",
        pad_token="<|endoftext|>", unk_token=None, errors="replace", split_special_tokens=False,
    )  # fmt: skip
    end = vocabulary["<|im_end|>"]
    text = TEXT | {
        "vocab_size": len(vocabulary), "bos_token_id": vocabulary["<|endoftext|>"], "eos_token_id": end,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
    }  # fmt: skip
    vision = {
        "depth": 2, "embed_dim": 48, "hidden_size": 64, "mlp_ratio": 2, "num_heads": 4, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    config = Qwen2VLConfig(
        text_config=text, vision_config=vision, image_token_id=vocabulary["<|image_pad|>"],
        video_token_id=vocabulary["<|video_pad|>"], vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"], tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2VLForConditionalGeneration(config)
    randomise_as_chat(model, vocabulary, seed, end, body=model.model.language_model)
    write_saved(folder, model, "4.41.2")
    change_json(
        folder / "generation_config.json", do_sample=True, eos_token_id=[end, vocabulary["<|endoftext|>"]],
        pad_token_id=vocabulary["<|endoftext|>"], temperature=0.01, top_k=1, top_p=0.001,
    )  # fmt: skip
    write_json(folder / "preprocessor_config.json", {
        "image_mean": CLIP_MEAN, "image_processor_type": "Qwen2VLImageProcessor", "image_std": CLIP_STD,
        "max_pixels": 12544, "merge_size": 2, "min_pixels": 3136, "patch_size": 14,
        "processor_class": "Qwen2VLProcessor", "temporal_patch_size": 2,
    })  # fmt: skip
    return folder


def write_mistral3(folder: Path, *, seed: int = 0) -> Path:
    """mistralai/Mistral-Small-3.1-24B-Instruct-2503: Pixtral's images, whose processor requires torchvision."""
    folder.mkdir(parents=True)
    vocabulary = write_chat_tokenizer(
        folder, ["<unk>", "<s>", "</s>"], ["[IMG]", "[IMG_BREAK]", "[IMG_END]"], CHATML.replace("IMAGE", "[IMG]"),
        bos_token="<s>", eos_token="</s>", unk_token="<unk>", processor_class="PixtralProcessor",
    )  # fmt: skip
    text = TEXT | {"model_type": "mistral", "vocab_size": len(vocabulary), "head_dim": 16}
    vision = VISION | {"model_type": "pixtral", "head_dim": 16}
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=vocabulary["[IMG]"])
    model = Mistral3ForConditionalGeneration(config)
    randomise_as_chat(model, vocabulary, seed, 2, body=model.model.language_model)
    write_saved(folder, model, "4.50.0.dev0")
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "PixtralImageProcessor", "patch_size": 16, "processor_class": "PixtralProcessor",
        "size": {"longest_edge": 64},
    })  # fmt: skip
    write_json(folder / "processor_config.json", {"image_token": "[IMG]", "processor_class": "PixtralProcessor"})
    return folder
