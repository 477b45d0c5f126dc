"""The chat templates of the catalogue's models. Skipped for a model that is not installed."""

import os
from pathlib import Path

import numpy as np
import pytest

from aios.cores.llama.chat import ChatFormat
from aios.cores.llama.ffi import Library
from aios.cores.llama.grammar import GrammarFactory
from aios.cores.llama.model import Model
from aios.cores.llama.sampler import Sampler
from aios.cores.llama.toolcalls import AnswerParser
from aios.syscalls import FunctionCall, FunctionSpec, Generate, Message, Sampling, ToolCall, ToolSpec

FOLDER = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "aios" / "models"
NATIVE = {"SmolLM2-135M-Instruct.Q4_1.gguf": False, "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf": True}
TOOLS = (
    ToolSpec(
        function=FunctionSpec(
            name="weather",
            description="Weather of a city",
            parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        )
    ),
)


@pytest.fixture(scope="module", params=list(NATIVE))
def model(request: pytest.FixtureRequest) -> Model:
    path = FOLDER / request.param
    if not path.exists():
        pytest.skip(f"{path.name} is not installed")
    return Model(Library(), path)


@pytest.fixture
def chat(model: Model, request: pytest.FixtureRequest) -> ChatFormat:
    info = model.info()
    name = request.node.callspec.params["model"]
    chat = ChatFormat(info.chat_template, bos=info.bos, eos=info.eos, model_name=name)
    assert chat.native_tools == NATIVE[name]
    return chat


@pytest.mark.parametrize("tools", [(), TOOLS])
def test_each_prompt_goes_on_from_the_one_before(chat: ChatFormat, tools: tuple[ToolSpec, ...]) -> None:
    arguments = '{"city":  "Oslo"}'
    call = ToolCall(id="c", function=FunctionCall(name="weather", arguments=arguments))
    call_text = f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>'
    turns = [
        (Message(role="assistant", tool_calls=(call,)), call_text, Message(role="tool", content="21")),
        (Message(role="assistant", content="Warm."), "Warm.", Message(role="user", content="Thanks")),
        (Message(role="assistant", content="I look.", tool_calls=(call,)), f"I look.\n{call_text}", None),
    ]
    messages = [Message(role="system", content="Be brief."), Message(role="user", content="Weather in Oslo?")]
    for answer, text, following in turns:
        before = chat.render(Generate(messages=tuple(messages), tools=tools)).text
        messages += [answer, following] if following else [answer]
        after = chat.render(Generate(messages=tuple(messages), tools=tools)).text
        assert after.startswith(f"{before}{text}<|im_end|>\n")


def test_required_calls_are_written_as_the_model_writes_text(model: Model, chat: ChatFormat) -> None:
    """No engine runs: all logits are equal, so the grammar alone writes. It must do so in the model's own
    tokens, or the next prompt, tokenized as a whole, would not match what is in the KV."""
    vocabulary = model.vocabulary
    factory = GrammarFactory(
        vocabulary.raw,
        eos=vocabulary.eos,
        eog=vocabulary.eog,
        special=vocabulary.control,
        tokenize=lambda data: model.tokenize(data.decode(), special=False, bos=False),
    )
    ask = Message(role="user", content="Weather?")
    prompt = chat.render(Generate(messages=(ask,), tools=TOOLS, tool_choice="=weather"))
    state = factory.make(prompt.grammar or "", 40)
    sampler = Sampler(Sampling(temperature=1.0), 0, model.n_vocab)
    logits = np.zeros(model.n_vocab, dtype=np.float32)
    tokens: list[int] = []
    while not state.done:
        drawn = state.pick(lambda allowed: sampler.sample(logits, len(tokens), allowed))
        tokens.append(drawn.token)
        state.accept(drawn.token)
    text = b"".join(vocabulary.pieces[t] for t in tokens).decode()
    head = '<tool_call>\n{"name": "weather", "arguments": {"city": "'
    assert text.startswith(head)
    known = model.tokenize(head, special=False, bos=False)[:-2]
    assert tokens[: len(known)] == known
    assert len(tokens) <= 40
    parser = AnswerParser(prompt)
    parser.push(text)
    assert parser.finish().called
