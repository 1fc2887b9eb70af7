"""Donut: Swin without a last norm, and mBART's decoder, which starts with a task token."""

from pathlib import Path

from transformers import DonutSwinConfig, MBartConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

from tests.captioner.layouts.files import dump, write_encoder_decoder, write_json, write_preprocessor
from tests.captioner.layouts.trocr import ROBERTA_TOKENS
from tests.captioner.layouts.vocabularies import write_sentence_pieces, write_unigram_tokenizer
from tests.captioner.layouts.weights import randomise, saved_tensors, write_pickled

TASK = "<s_cord-v2>"
FIELDS = ["<sep/>", "</s_menu>", "<s_menu>", "</s_nm>", "<s_nm>", "</s_price>", "<s_price>", TASK]
VERSION = "4.22.0.dev0"


def write_donut(folder: Path, *, seed: int = 0) -> Path:
    """naver-clova-ix/donut-base-finetuned-cord-v2."""
    folder.mkdir(parents=True)
    words = write_sentence_pieces(folder / "sentencepiece.bpe.model")[3:]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>", *FIELDS]
    write_unigram_tokenizer(folder, tokens, special=["<s>", "<pad>", "</s>", "<unk>", "<mask>", TASK], added=FIELDS)
    write_json(folder / "added_tokens.json", {token: tokens.index(token) for token in FIELDS})
    plain = {name: text for name, text in ROBERTA_TOKENS.items() if name != "mask_token"}
    mask = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": True}
    write_json(folder / "special_tokens_map.json", plain | {"additional_special_tokens": [TASK], "mask_token": mask})
    write_json(folder / "tokenizer_config.json", plain | {
        "from_slow": True, "mask_token": mask | {"__type": "AddedToken"}, "processor_class": "DonutProcessor",
        "name_or_path": "naver-clova-ix/donut-base-finetuned-cord-v2", "sp_model_kwargs": {},
        "special_tokens_map_file": None, "tokenizer_class": "XLMRobertaTokenizer",
    })  # fmt: skip
    encoder = DonutSwinConfig(
        embed_dim=16, depths=[1, 1, 1], num_heads=[2, 2, 4], window_size=4, image_size=[96, 64], patch_size=4,
        mlp_ratio=2.0,
    )  # fmt: skip
    decoder = MBartConfig(
        vocab_size=len(tokens), d_model=64, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=128,
        max_position_embeddings=768, scale_embedding=True, add_final_layer_norm=True, is_decoder=True,
        add_cross_attention=True, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    body = model.decoder.model.decoder
    never = [0, 1, 3, 4, tokens.index("<mask>")]
    randomise(model, seed, end=2, never=never, head=model.decoder.lm_head, last_norm=body.layer_norm)
    tensors = saved_tensors(model)
    tensors["decoder.lm_head.weight"] = tensors["decoder.model.decoder.embed_tokens.weight"]
    write_pickled(folder, tensors)
    write_encoder_decoder(
        folder, dump(encoder, VERSION, image_size=[96, 64]),
        dump(decoder, VERSION, is_decoder=True, add_cross_attention=True, forced_eos_token_id=2),
    )  # fmt: skip
    write_preprocessor(
        folder, [64, 96], "DonutFeatureExtractor", do_align_long_axis=False, do_pad=True, do_thumbnail=True,
        processor_class="DonutProcessor",
    )  # fmt: skip
    return folder
