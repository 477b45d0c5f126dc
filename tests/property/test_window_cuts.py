"""Where a conversation is cut: never through a tool call, never the system's words or the newest, and at the
same place for as long as possible."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from aios.context.window import Conversation, size
from aios.syscalls import FunctionCall, Message, ToolCall

texts = st.text("ab ", max_size=60)
call = ToolCall(id="c", function=FunctionCall(name="look", arguments='{"at": 1}'))
plain = st.builds(
    lambda role, text: [Message(role=role, content=text)], st.sampled_from(["user", "assistant"]), texts
)
used = st.builds(
    lambda results: [
        Message(role="assistant", tool_calls=(call,)),
        *(Message(role="tool", tool_call_id="c", content=r) for r in results),
    ],
    st.lists(texts, min_size=1, max_size=3),
)
talks = st.builds(
    lambda head, rest: (head, [message for part in rest for message in part]),
    st.lists(st.builds(lambda t: Message(role="system", content=t), texts), max_size=2),
    st.lists(plain | used, min_size=1, max_size=15),
)


@given(talks, st.integers(1, 200))
def test_a_cut_leaves_a_conversation_that_makes_sense(talk, stride) -> None:
    head, rest = talk
    conversation = Conversation.of([*head, *rest])
    assert conversation.after(0) == (*head, *rest)
    cuts = conversation.cuts(stride)
    assert cuts == sorted(set(cuts))
    for cut in cuts:
        left = conversation.after(cut)
        assert left[: len(head)] == tuple(head)
        assert left[-1] == rest[-1]
        assert left[len(head)].role not in ("tool", "function")  # no result without its call
        assert conversation.between(0, cut) + left[len(head) :] == tuple(rest)
    if len(conversation.units) > 1:
        assert cuts[-1] == len(conversation.units) - 1


@given(talks, st.lists(plain, max_size=6), st.integers(1, 200))
def test_the_possible_cuts_of_a_longer_conversation_go_on_from_those_of_a_shorter(talk, more, stride) -> None:
    head, rest = talk
    shorter = Conversation.of([*head, *rest])
    longer = Conversation.of([*head, *rest, *(message for part in more for message in part)])
    before, after = shorter.cuts(stride), longer.cuts(stride)
    regular = before[:-1]  # the last one may only be there because all but the newest can go
    assert after[: len(regular)] == regular


@given(talks, st.integers(1, 200))
def test_cuts_are_a_stride_apart(talk, stride) -> None:
    head, rest = talk
    conversation = Conversation.of([*head, *rest])
    cuts = [0, *conversation.cuts(stride)]
    for earlier, later in itertools.pairwise(cuts[:-1]):
        between = sum(map(size, conversation.between(0, later))) // stride
        assert between > sum(map(size, conversation.between(0, earlier))) // stride
