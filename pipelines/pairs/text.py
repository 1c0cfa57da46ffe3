"""Texts to token ids, by Hugging Face's tokenizers: a file of rules, no code.

Ids are those of the tokenizer and two more: 0 is padding, 1 begins every text.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipelines.errors import UserError

BEGIN, OWN_IDS = 1, 2
_LEAST_COUNT = 2
"""How often a pair of tokens must occur to become one."""


class TokenizerError(UserError, ValueError):
    """What is no tokenizer."""


class Texts:
    """Token ids of texts, int32 [max_tokens]."""

    def __init__(self, tokenizer: str, max_tokens: int) -> None:
        """Read the JSON of a tokenizer."""
        self._tokenizer, self._max_tokens = opened(tokenizer), max_tokens

    def __call__(self, text: str) -> NDArray[np.int32]:
        """The ids of one text; those beyond `max_tokens` are cut off, and 0 follows its end."""
        found = self._tokenizer.encode(text, add_special_tokens=False).ids
        ids = np.zeros(self._max_tokens, np.int32)
        kept = found[: self._max_tokens - 1]
        ids[0], ids[1 : 1 + len(kept)] = BEGIN, np.asarray(kept, np.int32) + OWN_IDS
        return ids

    def words(self, ids: NDArray[np.int32]) -> str:
        """The text of some ids."""
        text: str = self._tokenizer.decode([int(i) - OWN_IDS for i in ids if i >= OWN_IDS])
        return text.strip()


def opened(tokenizer: str) -> Tokenizer:
    """The tokenizer of a JSON.

    Raises:
        TokenizerError: if it is none.
    """
    try:
        found = Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"not the JSON of a tokenizer: {error}") from error
    found.no_padding()
    found.no_truncation()
    return found


def num_ids(tokenizer: str) -> int:
    """How many ids there may be: what backbone.vocabulary must reach."""
    return OWN_IDS + int(opened(tokenizer).get_vocab_size())


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> str:
    """The JSON of a byte-level BPE with at most so many ids, for which no text is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - OWN_IDS,
        min_frequency=_LEAST_COUNT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found: str = tokenizer.to_str()
    return found
