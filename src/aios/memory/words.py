"""Words of a text that say what it is about."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from aios.storage.words import split

_PHRASE_END = re.compile(r"[^\w\s'’-]+|\n")
_APOSTROPHE = re.compile(r"['’]\w*")

STOP = frozenset(
    """a about above after again against all also am an and any are aren as at be because been before being
    below between both but by can cannot could couldn did didn do does doesn doing don down during each
    even ever few for from further get gets getting go goes going got had hadn has hasn have haven
    having he her here hers herself him himself his how i if in into is isn it its itself just let like
    ll may me might more most much must my myself no nor not now of off oh ok on once only or other our
    ours ourselves out over own really said same say says she should shouldn so some still such than
    that the their theirs them themselves then there these they this those through to too under until up
    upon us use used using ve very was wasn we well were weren what when where which while who whom why
    will with won would wouldn yeah yes yet you your yours yourself yourselves""".split()  # noqa: SIM905
)
"""English words that say nothing of a text's subject."""


def telling(text: str) -> list[str]:
    """The words of a question worth looking for, each once: no stop words, unless there are no others."""
    words = list(dict.fromkeys(split(text)))
    return [word for word in words if word not in STOP and len(word) > 1] or words


def keywords(text: str, most: int = 8) -> tuple[str, ...]:
    """Key phrases by RAKE (Rose et al. 2010): runs of words between stop words and punctuation, by the sum of
    their words' degree over frequency; of one score the earlier first. Phrases longer than 3 words are cut into
    their words: chat runs on where a paper would end a phrase."""
    phrases = [
        part for phrase in _phrases(text) for part in ([phrase] if len(phrase) <= 3 else [[w] for w in phrase])
    ]
    degree: dict[str, int] = defaultdict(int)
    frequency: dict[str, int] = defaultdict(int)
    for phrase in phrases:
        for word in phrase:
            frequency[word] += 1
            degree[word] += len(phrase)
    score = {" ".join(p): sum(degree[w] / frequency[w] for w in p) for p in phrases}
    return tuple(sorted(score, key=lambda phrase: -score[phrase])[:most])


def _phrases(text: str) -> Iterable[list[str]]:
    for piece in _PHRASE_END.split(text):
        run: list[str] = []
        for word in split(_APOSTROPHE.sub("", piece)):
            if word in STOP or len(word) < 2 or word.isdigit():
                if run:
                    yield run
                run = []
            else:
                run.append(word)
        if run:
            yield run
