"""Train a byte-level BPE tokenizer on the corpus: any text goes in and comes out unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END, START_TURN, END_TURN, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL = (END, START_TURN, END_TURN, PAD)
# As Llama 3's, and a line's indentation stays with its newline: source code is a third indentation.
_PIECES = r"[\r\n]+[ \t]*| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|[ \t]+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def vocabulary_size(corpus_bytes: int) -> int:
    """Return how many tokens to learn: small, since the head is computed for every token, smaller for little text."""
    for limit, size in ((100_000, 512), (1_000_000, 1024), (4_000_000, 2048)):
        if corpus_bytes < limit:
            return size
    return 4096


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Return a tokenizer of at most `size` tokens, the 256 bytes and the special ones among them."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_clean(texts), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text; text that looks like a special token stays text."""
    tokenizer.encode_special_tokens = True
    return [item.ids for item in tokenizer.encode_batch_fast(list(_clean(texts)), add_special_tokens=False)]


def tokenizer_config(context: int) -> bytes:
    """Return `tokenizer_config.json`: special tokens, context and a minimal chat template to tune with later."""
    table = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": None,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False).encode()


def _clean(texts: Iterable[str]) -> Iterator[str]:
    """Replace lone surrogates, which UTF-8 cannot carry."""
    for text in texts:
        yield text.encode("utf-8", "replace").decode("utf-8")
