"""The demo's work: questions about a shop that take several look-ups each, with known answers.

Everything is drawn from a seed, so all modes work on the same tasks. A task names an order; to answer it an
agent must look up the order, then its item, then the item's maker, and report the maker's city. The tools are
real look-ups; each also waits `gap_s`, which stands for the network a real tool would be behind.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from aios.sdk.agents.react import ReAct
from aios.sdk.tool import Tool

Words = tuple[str, ...]
COLOURS: Words = ("red", "blue", "green", "black", "white", "brown", "golden", "silver", "pink", "purple")
NOUNS: Words = ("lamp", "chair", "vase", "clock", "basket", "mirror", "carpet", "cup", "candle", "bottle")
MAKERS: Words = (
    "Adler",
    "Bianchi",
    "Costa",
    "Duval",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Horvat",
    "Jansen",
    "Keller",
)
CITIES: Words = ("Lyon", "Porto", "Turin", "Ghent", "Basel", "Krakow", "Malmo", "Cork", "Graz", "Riga")

INSTRUCTIONS = """You answer questions about a shop by looking things up. Each step is one JSON object.
order: tells which item an order is.
item: tells who makes an item.
maker: tells which city a maker is from.
finish: gives the answer.

Example:
Question: Which city is the maker of order 118 from?
{"thought": "Look up order 118.", "action": "order", "input": {"number": "118"}}
Observation: Order 118 is one wooden box.
{"thought": "Look up item wooden box.", "action": "item", "input": {"name": "wooden box"}}
Observation: The wooden box is made by Olsen.
{"thought": "Look up maker Olsen.", "action": "maker", "input": {"name": "Olsen"}}
Observation: Olsen is from Bonn.
{"thought": "The city is Bonn.", "action": "finish", "input": {"answer": "Bonn"}}"""


class Clerk(ReAct):
    """The SDK's ReAct agent with instructions of its own: all agents share them, word for word."""

    def instructions(self) -> str:
        return INSTRUCTIONS


@dataclass(frozen=True, slots=True)
class Task:
    question: str
    answer: str

    def right(self, answer: str) -> bool:
        """The answer is exactly the expected word, but for case, a full stop and spaces around it."""
        return answer.strip().rstrip(".").lower() == self.answer.lower()


class Shop:
    """A small world: orders, items, makers."""

    def __init__(self, seed: int, *, gap_s: float) -> None:
        draw = random.Random(seed)
        items = [f"{colour} {noun}" for colour in COLOURS for noun in NOUNS]
        self._gap_s = gap_s
        self._orders = {str(n): draw.choice(items) for n in draw.sample(range(200, 1000), 64)}
        self._makers = {item: draw.choice(MAKERS) for item in items}
        self._cities = dict(zip(MAKERS, draw.sample(CITIES, len(MAKERS)), strict=True))

    def task(self, index: int) -> Task:
        order = list(self._orders)[index % len(self._orders)]
        city = self._cities[self._makers[self._orders[order]]]
        return Task(f"Question: Which city is the maker of order {order} from?", city)

    def tools(self) -> list[Tool]:
        return [Tool(self.order), Tool(self.item), Tool(self.maker)]

    async def order(self, number: str) -> str:
        """Tells which item an order is."""
        await asyncio.sleep(self._gap_s)
        return f"Order {number} is one {_found(self._orders, number)}."

    async def item(self, name: str) -> str:
        """Tells who makes an item."""
        await asyncio.sleep(self._gap_s)
        return f"The {name} is made by {_found(self._makers, name)}."

    async def maker(self, name: str) -> str:
        """Tells which city a maker is from."""
        await asyncio.sleep(self._gap_s)
        return f"{name} is from {_found(self._cities, name)}."


def _found(table: dict[str, str], key: str) -> str:
    if key not in table:
        raise LookupError(f"there is no {key!r}")
    return table[key]
