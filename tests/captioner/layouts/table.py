"""The layouts by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.captioner.layouts import bert, chat, donut, gpt2, prefix, queries, tasks, trocr, variants


class Writer(Protocol):
    def __call__(self, folder: Path, **options: Any) -> Path: ...


@dataclass(frozen=True)
class Layout:
    """A published kind of checkpoint."""

    name: str
    write: Writer  # writes a tiny checkpoint into a new folder; `seed` sets the weights
    decoder: Literal["fast", "generate"]
    takes_prompt: bool = False
    prompt: str | None = None  # the usual prompt, if captions need one
    needs: str | None = None  # a package without which plain transformers cannot load it


VARIANTS = (
    *(
        Layout(f"vit-gpt2-{name}", variants.writer(name), "generate" if name == "length-decay" else "fast")
        for name in (*variants.EFFECTIVE, *variants.NEUTRAL, *variants.SAMPLING)
    ),
    Layout("vit-gpt2-config-forced-bos", variants.write_forced_bos_in_config, "fast"),
    Layout("vit-gpt2-listed-start", variants.write_listed_start, "fast"),
    Layout("vit-gpt2-encoder-of-tuples", variants.write_encoder_of_tuples, "fast"),
    Layout("blip-encoder-of-tuples", variants.write_blip_encoder_of_tuples, "fast", takes_prompt=True),
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("vit-gpt2", gpt2.write_vit_gpt2, "fast"),
        Layout("vit-gpt2-coco", gpt2.write_vit_gpt2_coco, "fast"),
        Layout("deit-gpt2", gpt2.write_deit_gpt2, "fast"),
        Layout("beit-gpt2", gpt2.write_beit_gpt2, "fast"),
        Layout("swin-gpt2", gpt2.write_swin_gpt2, "fast"),
        Layout("trocr-base", trocr.write_trocr_base, "fast"),
        Layout("trocr-small", trocr.write_trocr_small, "fast"),
        Layout("trocr-sinusoidal", trocr.write_trocr_sinusoidal, "fast"),
        Layout("manga-ocr", bert.write_manga_ocr, "fast"),
        Layout("vit-roberta", bert.write_vit_roberta, "fast"),
        Layout("vit-roberta-uncached", bert.write_vit_roberta_uncached, "generate"),
        Layout("blip-base", bert.write_blip, "fast", takes_prompt=True),
        Layout("blip-large", bert.write_blip_large, "fast", takes_prompt=True),
        Layout("donut", donut.write_donut, "fast", takes_prompt=True, prompt=donut.TASK),
        *VARIANTS,
        Layout("git", prefix.write_git, "generate", takes_prompt=True),
        Layout("pix2struct", prefix.write_pix2struct, "generate", takes_prompt=True),
        Layout("blip2", prefix.write_blip2, "generate", takes_prompt=True),
        Layout("instructblip", queries.write_instructblip, "generate", takes_prompt=True, prompt="a picture of"),
        Layout("instructblip-t5", queries.write_instructblip_t5, "generate", takes_prompt=True, prompt="a picture of"),
        Layout("kosmos2", tasks.write_kosmos2, "generate", takes_prompt=True, prompt=tasks.GROUNDED),
        Layout("florence2", tasks.write_florence2, "generate", takes_prompt=True, prompt=tasks.CAPTION),
        Layout("smolvlm", chat.write_smolvlm, "generate", takes_prompt=True, prompt=chat.ASK),
        Layout("llava", chat.write_llava, "generate", takes_prompt=True, prompt=chat.ASK),
        Layout("llava-untemplated", chat.write_llava_untemplated, "generate", takes_prompt=True, prompt="<image> is"),
        Layout("qwen2-vl", chat.write_qwen2_vl, "generate", takes_prompt=True, prompt=chat.ASK),
        Layout("smolvlm2", chat.write_smolvlm2, "generate", takes_prompt=True, prompt=chat.ASK),
        Layout("mistral3", chat.write_mistral3, "generate", takes_prompt=True, prompt=chat.ASK, needs="torchvision"),
    )
}
