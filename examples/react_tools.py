"""A ReAct agent with three tools.

With or without a running kernel:  aios run examples/react_tools.py "How much do 3 hammers and 2 saws cost?"
"""

from aios import ReAct, tool

PRICES = {"hammer": 12.5, "saw": 19.0, "drill": 89.0}


@tool
def price(item: str) -> str:
    """The price of one piece of an item.

    item: name of the item, singular
    """
    if item not in PRICES:
        raise LookupError(f"no {item!r}; there are {', '.join(PRICES)}")
    return f"one {item} costs {PRICES[item]} euros"


@tool
def multiply(a: float, b: float) -> str:
    """Multiply two numbers."""
    return f"{a} * {b} = {a * b:g}"


@tool
def add(a: float, b: float) -> str:
    """Add two numbers."""
    return f"{a} + {b} = {a + b:g}"


async def main(client, task: str) -> str:
    agent = ReAct(client, tools=[price, multiply, add], max_turns=8)
    outcome = await agent.work(task or "How much do 3 hammers cost?")
    for turn in outcome.turns:
        print(f"{turn.number}. {turn.thought} -> {turn.action}({turn.input}) = {turn.observation}")
    print(
        f"{outcome.usage.prompt_tokens} prompt tokens, {outcome.usage.cached_tokens} of them from the KV cache"
    )
    return f"Answer: {outcome.answer}"
