"""How alike two sets of texts are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDER = 4


def bleu(said: Sequence[str], meant: Sequence[str]) -> float:
    """Corpus BLEU with one reference each, over words, up to 4-grams (Papineni et al. 2002, section 2); 1.0
    when all are the same. Orders for which no text is long enough are left out."""
    matched, total = Counter[int](), Counter[int]()
    lengths = [0, 0]
    for one, other in zip(said, meant, strict=True):
        ours, theirs = one.split(), other.split()
        lengths[0] += len(ours)
        lengths[1] += len(theirs)
        for order in range(1, ORDER + 1):
            grams, wanted = _grams(ours, order), _grams(theirs, order)
            matched[order] += sum((grams & wanted).values())
            total[order] += sum(grams.values())
    orders = [order for order in range(1, ORDER + 1) if total[order]]
    if not orders:
        return 1.0 if lengths[0] == lengths[1] else 0.0
    if any(matched[order] == 0 for order in orders):
        return 0.0
    precision = sum(math.log(matched[order] / total[order]) for order in orders) / len(orders)
    brevity = min(0.0, 1.0 - lengths[1] / lengths[0])
    return math.exp(precision + brevity)


def _grams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
