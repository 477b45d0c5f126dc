"""What an endpoint said in answer to one call, over all requests that it took, and where the answer may be cut.

Text that is kept is tokenized anew by the endpoint, so it is cut only where it is *settled*: behind it stands
no white space (templates trim it, vocabularies put it before the next word), no character that is not whole yet
(U+FFFD) and no beginning of a stop string (the endpoint looks for stop strings in what a request generates
only). What is not settled is held until more comes; at a cut it is forgotten, and generated again.
"""

from __future__ import annotations

from typing import Any

from aios.cores.core import Ended
from aios.cores.llama.text import held_length
from aios.cores.request import NEWER_LIMIT, continued
from aios.syscalls import Delta

UNSETTLED = "\ufffd"


class Talk:
    """`body`: of the call. `cuts`: the answer can be cut at all. `piece` > 0: the answer is asked for in pieces
    of so many tokens, and cut between those only: then one that was interrupted is asked for with the very
    requests with which one that was not is, and all of it (how the text is tokenized, what is computed as a
    prompt, whence the sampler starts) is the same, as long as equal requests get equal answers."""

    def __init__(
        self, body: dict[str, Any], stops: tuple[str, ...] = (), *, cuts: bool, piece: int = 0
    ) -> None:
        self.body, self.cuts = body, cuts
        self.piece = piece if cuts else 0
        self.leave = False
        """It is to be interrupted as soon as it can be."""
        self._stops = stops
        self._text, self._tokens = "", 0
        self._held: list[Delta] = []
        self._stretch = 1
        self._prompt: Ended | None = None
        self._before = 0
        self._asked: int | None = None
        self._last = False

    @property
    def full(self) -> bool:
        """No token more is allowed."""
        left = self._left
        return left is not None and left <= 0

    @property
    def grown(self) -> bool:
        """The request that is under way brought something that is kept."""
        return self._tokens > self._before

    @property
    def _left(self) -> int | None:
        limit = self.body.get("max_tokens", self.body.get(NEWER_LIMIT))
        return None if limit is None else limit - self._tokens

    def request(self) -> dict[str, Any]:
        """The body of the next request."""
        self._held.clear()
        self._before = self._tokens
        body = continued(self.body, self._text, self._tokens) if self._tokens else dict(self.body)
        if self.piece:
            left, size = self._left, self.piece * self._stretch
            self._last = left is not None and size >= left
            self._asked = left if left is not None and self._last else size
            body[NEWER_LIMIT if NEWER_LIMIT in body else "max_tokens"] = self._asked
        return body

    def unfit(self, delta: Delta) -> bool:
        """Thoughts came before any text: no text brings them back, so this answer is not cut from now on. True
        if it was to come in pieces, and must be asked for again, whole."""
        if delta.content or not self.cuts or self._tokens:
            return False
        self.cuts = False
        pieces, self.piece = self.piece, 0
        return pieces > 0

    def heard(self, delta: Delta) -> list[Delta]:
        """More came: what may be shown now. Each delta stays one."""
        self._held.append(delta)
        return [] if self.cuts and not self._settled() else self.rest()

    def rest(self) -> list[Delta]:
        """What is held and may be shown after all, because the answer is over."""
        held, self._held = self._held, []
        for delta in held:
            self._text += delta.content
            self._tokens += delta.tokens
        return held

    def ended(self, end: Ended, generated: int | None) -> Ended | None:
        """A request was answered to its end: how the call ended, or None if it goes on with another request.
        `end`: of this request. `generated`: its tokens, if the endpoint counted them."""
        prompt = self._prompt = self._prompt or end
        if self.piece and self._goes_on(end, generated):
            if self.grown and generated is not None:
                held = sum([delta.tokens for delta in self._held])
                self._tokens = self._before + max(1, generated - held)
            self._stretch = 1 if self.grown else 2 * self._stretch
            return None
        return Ended(
            reasons=end.reasons,
            prompt_tokens=max(0, prompt.prompt_tokens - (0 if self.piece else self._before)),
            completion_tokens=self._before + end.completion_tokens,
            cached_tokens=prompt.cached_tokens,
        )

    def _goes_on(self, end: Ended, generated: int | None) -> bool:
        """The request was for a piece, and got it."""
        assert self._asked is not None
        whole = generated is None or generated >= self._asked  # else the endpoint's window is full
        return set(end.reasons.values()) == {"length"} and whole and not self._last

    def _settled(self) -> bool:
        text = "".join([delta.content for delta in self._held])
        last = text[-1:]
        return not (last.isspace() or last == UNSETTLED or held_length(text, self._stops))
