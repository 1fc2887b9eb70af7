"""Small vocabularies of caption words in the file formats of published tokenizers."""

import json
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase, digits

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.captioner.layouts.files import write_json

SPOKEN = (
    "a the an of on in with and at is two three man woman child boy girl people person group dog cat horse cow "
    "bird sheep bear zebra elephant giraffe sitting standing walking riding holding eating playing looking lying "
    "flying running jumping driving parked next to near front behind under over top side street road field grass "
    "beach water sea river lake snow mountain tree trees forest sky cloud sun night day city building house room "
    "kitchen bathroom bedroom table chair couch bed desk window door wall floor plate bowl cup glass bottle food "
    "pizza cake fruit banana apple orange bread sandwich train bus car truck bike motorcycle boat plane airport "
    "station sign light clock phone laptop computer keyboard book ball bat racket kite board surf ski skate "
    "umbrella hat shirt tie bag red blue green white black brown yellow large small old young many some full "
    "empty close up view"
)
WORDS = SPOKEN.split()

ROBERTA_FIRST = ["<s>", "<pad>", "</s>", "<unk>"]


def byte_pair_vocabulary(merges: int, first: Sequence[str], last: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return GPT-2's vocab.json and the lines of merges.txt, learnt from the words.

    Special tokens: `first` come before (RoBERTa), `last` after (GPT-2) the others.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((" " + word for word in WORDS for _ in range(2)), trainer)
    lines = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [*first, *alphabet, *(line.replace(" ", "") for line in lines), *last]
    return {token: number for number, token in enumerate(tokens)}, lines


def write_byte_pairs(folder: Path, vocabulary: dict[str, int], merges: list[str]) -> None:
    write_json(folder / "vocab.json", vocabulary, indent=None)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def outside_words(vocabulary: dict[str, int]) -> list[int]:
    """Return the ids of a byte-pair vocabulary that belong to no word: odd bytes and special tokens."""
    words = set(ascii_lowercase)
    return [number for token, number in vocabulary.items() if not set(token.removeprefix("Ġ")) <= words]


def word_pieces() -> list[str]:
    """Return a vocabulary laid out like bert-base-uncased's: [PAD] 0, [UNK] 100, [CLS] 101, [SEP] 102, [MASK] 103."""
    unused = [f"[unused{number}]" for number in range(99)]
    letters = [*ascii_lowercase, *("##" + letter for letter in ascii_lowercase)]
    words = [word for word in dict.fromkeys(WORDS) if len(word) > 1]
    return ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *digits, ".", ",", "'", "-", *letters, *words]


def write_sentence_pieces(
    file: Path, *, kind: str = "unigram", first: Sequence[str] = ("<unk>", "<s>", "</s>")
) -> list[str]:
    """Write a sentencepiece model file with the words as pieces. Return the pieces in the order of their ids."""
    from sentencepiece import sentencepiece_model_pb2 as protocol

    model = protocol.ModelProto()
    controls = {"<unk>": model.SentencePiece.Type.UNKNOWN}
    for token in first:
        model.pieces.add(piece=token, score=0.0, type=controls.get(token, model.SentencePiece.Type.CONTROL))
    texts = ["▁", *ascii_lowercase, *digits, ".", ",", *("▁" + word for word in dict.fromkeys(WORDS))]
    for number, text in enumerate(texts):
        model.pieces.add(piece=text, score=-2.0 - number * 0.01)
    trainer = model.trainer_spec
    trainer.model_type = getattr(trainer.ModelType, kind.upper())
    trainer.vocab_size = len(model.pieces)
    for name, token in (("unk_id", "<unk>"), ("bos_id", "<s>"), ("eos_id", "</s>"), ("pad_id", "<pad>")):
        setattr(trainer, name, list(first).index(token) if token in first else -1)
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = True
    model.normalizer_spec.escape_whitespaces = True
    file.write_bytes(model.SerializeToString())
    return [*first, *texts]


def write_word_piece_tokenizer(folder: Path, words: list[str]) -> None:
    """Write vocab.txt and tokenizer.json of an uncased BERT tokenizer."""
    (folder / "vocab.txt").write_text("\n".join([*words, ""]))
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))


def write_unigram_tokenizer(
    folder: Path, tokens: list[str], *, special: list[str], added: list[str], end_only: bool = False
) -> None:
    """Write tokenizer.json of an XLM-RoBERTa tokenizer, or with `end_only` of T5's. `added` tokens are the last."""
    pieces = tokens[: len(tokens) - len(added)]
    scores = [(piece, 0.0 if piece in special else -2.0 - 0.01 * number) for number, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=tokens.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    known = [token for token in special if token not in added]
    tokenizer.add_tokens([AddedToken(token, special=token in special) for token in [*known, *added]])
    marks = ["</s>"] if end_only else ["<s>", "</s>"]
    single, pair = ("$A </s>", "$A </s> $B </s>") if end_only else ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    ends = [(token, tokens.index(token)) for token in marks]
    tokenizer.post_processor = processors.TemplateProcessing(single, pair, ends)
    assert [tokenizer.token_to_id(token) for token in tokens] == list(range(len(tokens)))
    tokenizer.save(str(folder / "tokenizer.json"))


def write_byte_level_tokenizer(folder: Path, first: Sequence[str], last: Sequence[str]) -> dict[str, int]:
    """Write tokenizer.json, vocab.json and merges.txt of a byte-level BPE tokenizer. Return the vocabulary."""
    vocabulary, merges = byte_pair_vocabulary(180, first, last)
    write_byte_pairs(folder, vocabulary, merges)
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(line.split(" ")) for line in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in [*first, *last]])
    tokenizer.save(str(folder / "tokenizer.json"))
    return vocabulary
