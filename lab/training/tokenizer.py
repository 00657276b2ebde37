"""The embedded model's tokenizer (CLIP's format) and its small CLIP text encoder's settings.

The vocabulary is CLIP's byte alphabet plus merges that make every word of the world one token. Any other text still
tokenizes, into letters, as with CLIP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...world.vocabulary import WORDS

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77


def _byte_alphabet() -> list[str]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes: printable Latin-1 bytes stand for
    themselves, the others take the code points from 256 up."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = (chr(256 + i) for i in range(256 - len(kept)))
    return [chr(b) for b in kept] + list(shifted)


def _pieces(word: str, merges: Sequence[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding of one word by merges in order of rank."""
    rank = {pair: i for i, pair in enumerate(merges)}
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), len(rank)))
        if (parts[best], parts[best + 1]) not in rank:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


def build_vocabulary(words: Sequence[str] = WORDS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(token -> id, merges). Each word's missing merges come after all earlier ones, so earlier words keep theirs."""
    merges: list[tuple[str, str]] = []
    for word in dict.fromkeys(words):
        parts = _pieces(word, merges)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = _pieces(word, merges)
    letters = _byte_alphabet()
    tokens = [*letters, *(c + "</w>" for c in letters), *dict.fromkeys(a + b for a, b in merges), START, END]
    return {token: i for i, token in enumerate(tokens)}, merges


def save_tokenizer(folder: Path) -> None:
    """Write a CLIPTokenizer folder."""
    vocabulary, merges = build_vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    special = {k: config[k] for k in ("bos_token", "eos_token", "unk_token", "pad_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")


def text_encoder_settings(vocabulary: int) -> dict:
    """Keyword arguments of transformers' CLIPTextConfig."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 128,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
