"""Reading tool calls out of an answer, as it comes."""

from collections.abc import Callable
from itertools import count

import pytest

from aios.cores.llama.chat import Prompt
from aios.cores.llama.toolcalls import AnswerParser

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "}\\"</tool_call>"}}\n</tool_call>'
ARGUMENTS = '{"a": "}\\"</tool_call>"}'


def ids() -> Callable[[], str]:
    numbers = count()
    return lambda: f"call_{next(numbers)}"


def parser(*, grammar: bool = True, bare: tuple[str, ...] = ()) -> AnswerParser:
    return AnswerParser(Prompt(parts=(), grammar="g" if grammar else None, calls=True, bare=bare), ids())


def read(reader: AnswerParser, *pieces: str) -> tuple[str, dict[int, tuple[str | None, str | None, str]], bool]:
    """Content, calls by index as (id, name, arguments), and whether the answer was calls."""
    content, calls = "", dict[int, tuple[str | None, str | None, str]]()
    last = reader.finish
    for part in [*map(reader.push, pieces), last()]:
        content += part[0]
        for delta in part[1]:
            known = calls.get(delta.index, (None, None, ""))
            calls[delta.index] = (known[0] or delta.id, known[1] or delta.name, known[2] + delta.arguments)
    return content, calls, part.called  # type: ignore[union-attr]


def test_without_tools_everything_is_content() -> None:
    assert read(AnswerParser(Prompt(parts=())), CALL) == (CALL, {}, False)


def test_content_before_a_call_keeps_all_but_the_line_break() -> None:
    assert read(parser(), f"Look.\n\n{CALL}") == ("Look.\n", {0: ("call_0", "f", ARGUMENTS)}, True)


def test_several_calls() -> None:
    content, calls, called = read(parser(), f"{CALL}\n{CALL}\n")
    assert (content, called) == ("", True)
    assert [calls[i] for i in (0, 1)] == [("call_0", "f", ARGUMENTS), ("call_1", "f", ARGUMENTS)]


def test_the_name_comes_first_and_arguments_as_they_are_written() -> None:
    reader = parser()
    assert reader.push('<tool_call>\n{"name": "f", "argum') == ("", ())
    content, (named, begun) = reader.push('ents": {"a"')
    assert (content, named.id, named.name, begun.arguments) == ("", "call_0", "f", '{"a"')
    assert [d.arguments for d in reader.push(": 1}")[1]] == [": 1}"]
    assert reader.push("}\n</tool_call>") == ("", ())
    assert reader.finish().called


def test_only_what_may_become_a_call_is_held_back() -> None:
    reader = parser()
    assert reader.push("a < b <tool") == ("a < b ", ())
    assert reader.push("box>") == ("<toolbox>", ())
    assert reader.push("x\n") == ("x", ())
    assert reader.finish() == ("\n", (), False)


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnonsense\n</tool_call> and more",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "text"}</tool_call>',
        'a\n<tool_call>\n{"name": "f", "argu',
    ],
)
def test_without_a_grammar_what_is_no_call_is_content(text: str) -> None:
    assert read(parser(grammar=False), text) == (text, {}, False)


def test_without_a_grammar_calls_are_read_as_freely_as_models_write_them() -> None:
    text = '<tool_call>{ "arguments": {"a":1},\n"name":"f" }</tool_call>'
    assert read(parser(grammar=False), text) == ("", {0: ("call_0", "f", '{"a": 1}')}, True)


def test_a_whole_call_without_its_end_mark_counts() -> None:
    text = '<tool_call>\n{"name": "f", "arguments": {}}'
    for grammar in (True, False):
        assert read(parser(grammar=grammar), text) == ("", {0: ("call_0", "f", "{}")}, True)


def test_a_call_that_was_cut_off_is_not_said_to_be_complete() -> None:
    content, calls, called = read(parser(), '<tool_call>\n{"name": "f", "arguments": {"a": "lon')
    assert (content, calls, called) == ("", {0: ("call_0", "f", '{"a": "lon')}, False)
    assert read(parser(), 'a\n<tool_call>\n{"na') == ('a\n<tool_call>\n{"na', {}, False)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "arguments": {"a": 1}}',
        '```json\n{\n  "name": "f",\n  "arguments": {"a": 1}\n}\n```',
        '```\n{"name":"f","arguments": {"a": 1}\n}\n```',
    ],
)
def test_an_answer_that_is_the_json_of_a_call_is_a_call(text: str) -> None:
    assert read(parser(bare=("f", "g")), text) == ("", {0: ("call_0", "f", '{"a": 1}')}, True)


@pytest.mark.parametrize(
    "text", ['{"name": "Ada", "arguments": {}}', '{"name": "f", "age": 3}', "```python\nx = 1\n```", "{", " "]
)
def test_other_json_is_content(text: str) -> None:
    assert read(parser(bare=("f", "g")), text) == (text, {}, False)


def test_a_call_can_follow_text_where_bare_ones_are_known() -> None:
    assert read(parser(bare=("f",)), f"Hm.\n{CALL}") == ("Hm.", {0: ("call_0", "f", ARGUMENTS)}, True)


def test_ids_are_random_unless_given() -> None:
    reader = AnswerParser(Prompt(parts=(), grammar="g", calls=True))
    (first, *_), (second, *_) = (reader.push(CALL)[1] for _ in range(2))
    assert first.id
    assert first.id.startswith("call_")
    assert first.id != second.id
