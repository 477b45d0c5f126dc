"""However an answer is cut into pieces, it is read the same, and nothing of it is lost."""

from hypothesis import given
from hypothesis import strategies as st

from aios.cores.llama.chat import Prompt
from aios.cores.llama.toolcalls import AnswerParser

FRAGMENTS = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "\n", "<tool", '{"name": "f", "arguments": ', '{"a": [1, "}"]}', "}",
        "text ", '\n{"name": "g", "arguments": {}}\n', "```json\n", " ", '{"x"', "\\", '"',
    ]
)  # fmt: skip
ANSWERS = st.lists(FRAGMENTS, max_size=12).map("".join)


def read(answer: list[str], prompt: Prompt) -> tuple[str, list[tuple[int, str, str]], bool]:
    reader = AnswerParser(prompt, lambda: "id")
    content, calls = "", dict[int, tuple[str, str]]()
    parts = [reader.push(piece) for piece in answer]
    end = reader.finish()
    for text, deltas in [*parts, (end.content, end.tool_calls)]:
        content += text
        for delta in deltas:
            name, arguments = calls.get(delta.index, ("", ""))
            calls[delta.index] = (name or delta.name or "", arguments + delta.arguments)
    return content, [(i, *call) for i, call in calls.items()], end.called


def cut(answer: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    return [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]


@given(ANSWERS, st.booleans(), st.sampled_from([(), ("f",), ("f", "g")]), st.data())
def test_any_cut_gives_the_same(
    answer: str, constrained: bool, bare: tuple[str, ...], data: st.DataObject
) -> None:
    prompt = Prompt(parts=(), grammar="g" if constrained else None, calls=True, bare=bare)
    whole = read([answer], prompt)
    assert read(cut(answer, data), prompt) == whole
    assert read(list(answer), prompt) == whole


@given(ANSWERS)
def test_without_a_grammar_text_without_calls_comes_back_as_it_was(answer: str) -> None:
    content, calls, _ = read([answer], Prompt(parts=(), calls=True))
    if not calls:
        assert content == answer
