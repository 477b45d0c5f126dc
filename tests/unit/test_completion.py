"""From steps to the whole answer, and back."""

from aios.cores.core import Ended
from aios.kernel.completion import Answer, replay, timings
from aios.scheduler.ticket import Ticket
from aios.syscalls import Completion, Delta, Timings, TokenLogprob, ToolCallDelta, Usage


def whole(answer: Answer) -> Completion:
    return answer.completion(id="1", model="m", created=7, timings=Timings())


def test_text_is_joined_and_the_end_says_why_and_how_much():
    answer = Answer()
    logprob = TokenLogprob(token="a", logprob=-0.5)
    answer.add(Delta(content="Hel", logprobs=(logprob,)))
    answer.add(Delta(content="lo"))
    assert not answer.complete
    answer.end(Ended(reasons={0: "length"}, prompt_tokens=9, completion_tokens=2, cached_tokens=4))
    assert answer.complete
    done = whole(answer)
    assert (done.id, done.model, done.created) == ("1", "m", 7)
    (choice,) = done.choices
    assert (choice.content, choice.finish_reason, choice.logprobs) == ("Hello", "length", (logprob,))
    assert done.usage == Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)


def test_tool_calls_are_put_together_from_their_pieces():
    answer = Answer()
    for piece in (
        ToolCallDelta(index=1, id="b", name="say", arguments="{}"),
        ToolCallDelta(index=0, id="a", name="add", arguments='{"x":'),
        ToolCallDelta(index=0, arguments=" 1}"),
    ):
        answer.add(Delta(tool_calls=(piece,)))
    answer.end(Ended(reasons={0: "tool_calls"}))
    (choice,) = whole(answer).choices
    assert choice.content is None
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.tool_calls]
    assert calls == [("a", "add", '{"x": 1}'), ("b", "say", "{}")]


def test_an_empty_answer_has_an_empty_text_and_no_tool_calls():
    answer = Answer()
    answer.end(Ended(reasons={0: "stop"}, prompt_tokens=1))
    (choice,) = whole(answer).choices
    assert (choice.content, choice.tool_calls) == ("", ())


def test_choices_of_several_sequences_share_the_prompt():
    answer = Answer(sequences=2)
    answer.add(Delta(choice=1, content="b"))
    answer.add(Delta(choice=0, content="a"))
    answer.end(Ended(reasons={1: "stop"}, prompt_tokens=9, completion_tokens=1, cached_tokens=0))
    assert not answer.complete
    answer.end(Ended(reasons={0: "length"}, prompt_tokens=9, completion_tokens=1, cached_tokens=8))
    done = whole(answer)
    found = [(c.index, c.content, c.finish_reason) for c in done.choices]
    assert found == [(0, "a", "length"), (1, "b", "stop")]
    assert done.usage == Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=0)


def test_one_sequence_may_produce_all_choices():
    answer = Answer()
    answer.add(Delta(choice=0, content="a"))
    answer.add(Delta(choice=1, content="b"))
    answer.end(Ended(reasons={0: "stop", 1: "length"}, completion_tokens=2))
    assert [(c.content, c.finish_reason) for c in whole(answer).choices] == [("a", "stop"), ("b", "length")]


def test_before_its_end_a_call_has_used_what_was_generated_and_its_prompt_once_anything_was():
    answer = Answer()
    assert answer.usage(prompt_tokens=9) == Usage()
    answer.add(Delta(content="a"))
    answer.add(Delta(content="b c", tokens=2))
    assert answer.usage(prompt_tokens=9) == Usage(prompt_tokens=9, completion_tokens=3)


def test_a_replay_builds_the_same_answer():
    answer = Answer(sequences=2)
    answer.add(Delta(choice=0, content="text", logprobs=(TokenLogprob(token="t", logprob=0.0),)))
    answer.add(Delta(choice=1, tool_calls=(ToolCallDelta(index=0, id="a", name="f", arguments="{}"),)))
    answer.end(Ended(reasons={0: "stop"}, prompt_tokens=3, completion_tokens=1))
    answer.end(Ended(reasons={1: "tool_calls"}, prompt_tokens=3, completion_tokens=1))
    done = whole(answer)
    *deltas, last = replay(done)
    assert last is done
    again = Answer()
    for delta in deltas:
        assert isinstance(delta, Delta)
        again.add(delta)
    again.end(Ended(reasons={0: "stop", 1: "tool_calls"}))
    assert whole(again).choices == done.choices
    assert sum(delta.tokens for delta in deltas if isinstance(delta, Delta)) == 2


def test_timings_are_of_the_ticket():
    ticket = Ticket(pid=1, call_id=1, arrival=10.0, queue_s=2.0, run_s=3.0, interrupts=4, first_token=12.5)
    expected = Timings(queue_s=2.0, run_s=3.0, first_token_s=2.5, total_s=6.0, interrupts=4)
    assert timings(ticket, now=16.0) == expected
