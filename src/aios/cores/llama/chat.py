"""From a conversation to a prompt: the model's template, its tools, and the form that the answer must have.

Runs in the kernel's process and needs no engine. A conversation that has grown by a message renders to a text
that goes on from the earlier one wherever the template allows, and repeats generated calls as they were
written: so the KV of the earlier turns fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from aios.cores.llama import hermes, sources
from aios.cores.llama.template import ChatTemplate, RawJson
from aios.errors import BadRequest, InvalidSchema
from aios.syscalls import FunctionCall, FunctionSpec, Generate, Message, ResponseFormat, ToolCall, ToolSpec

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_GUARD = "\ufdd0"  # a code point that is no character, so no text holds it
_CONTROL = r"<\|[^<>|\s]{1,64}\|>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a core needs of a rendered call.

    `parts` make up the text. Tokenize them one by one, control tokens recognised: where a message spells out
    a control token it is cut in two, so that nobody's text can end a turn or speak as the system. `grammar` is
    the source of the grammar the answer must follow; `stop` the stop strings; `calls`: the answer may hold
    tool calls, of which those of the tools in `bare` may stand alone, without marks."""

    parts: tuple[str, ...]
    grammar: str | None = None
    stop: tuple[str, ...] = ()
    calls: bool = False
    bare: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.parts)


class ChatFormat:
    """Renders calls for one model.

    `template` is the Jinja text of the model file; "": ChatML is used, and `note` says so. `control` are the
    texts of control tokens besides `bos`, `eos` and all that look like `<|…|>`. Raises ModelError for a
    template that can't be read."""

    def __init__(
        self,
        template: str,
        *,
        bos: str,
        eos: str,
        model_name: str,
        control: Iterable[str] = (),
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.note = "" if template else f"{model_name} has no chat template: ChatML is used."
        """What a user should know of how this model is talked to; mostly ""."""
        self._stop = () if template else ("<|im_end|>",)
        self._template = ChatTemplate(template or CHATML, bos=bos, eos=eos, now=now)
        spelled = sorted({t for t in (bos, eos, *control) if len(t) > 1}, key=len, reverse=True)
        self._control = re.compile("|".join([*map(re.escape, spelled), _CONTROL]))
        self.native_tools = self._knows_tools()
        """The template has a place for tools, calls and results, in the form that is parsed here."""
        self._knows_system = self._renders("probed", [{"role": "system", "content": "probed"}, _USER])

    def render(self, call: Generate) -> Prompt:
        """The prompt of a call. Raises BadRequest and InvalidSchema; a `prompt` of token ids has no parts."""
        stop = call.stop + self._stop
        if call.prompt is not None:
            parts = (call.prompt,) if isinstance(call.prompt, str) else ()
            return Prompt(parts, _answer_grammar(call.response_format), call.stop)
        if not call.messages:
            raise BadRequest("`messages` is empty.", "Send at least one message.", param="messages")
        tools = _offered(call)
        begun = _begun(call)
        text = self._conversation(call.messages[:-1] if call.continues else call.messages, tools)
        text += self._guarded(begun)
        free = call.tool_choice == "auto" and call.response_format.type == "text"
        bare = hermes.bare_names(tools) if free else ()
        return Prompt(tuple(text.split(_GUARD)), _grammar(call, tools), stop, calls=bool(tools), bare=bare)

    def _conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
        described = [self._tool(tool.function) for tool in tools]
        if self.native_tools:
            rendered = [self._native(message) for message in messages]
            return self._template.render(rendered, described or None, answer=True)
        plain = [self._plain(message) for message in messages]
        if described:
            plain = _with_system(plain, hermes.instructions(described))
        if not self._knows_system:
            plain = _without_system(plain)
        return self._template.render(plain, None, answer=True)

    def _tool(self, function: FunctionSpec) -> dict[str, Any]:
        spec = {"name": function.name, "description": function.description, "parameters": function.parameters}
        text = json.dumps({"type": "function", "function": spec}, ensure_ascii=False)
        return json.loads(self._guarded(text))

    def _native(self, message: Message) -> dict[str, Any]:
        rendered: dict[str, Any] = {"role": _role(message), "content": self._guarded(message.content)}
        if message.tool_calls:
            rendered["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.name:
            rendered["name"] = self._guarded(message.name)
        if message.tool_call_id:
            rendered["tool_call_id"] = self._guarded(message.tool_call_id)
        return rendered

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = _arguments(self._guarded(call.function.arguments))
        function = {"name": self._guarded(call.function.name), "arguments": arguments}
        return {"id": call.id, "type": "function", "function": function}

    def _plain(self, message: Message) -> dict[str, Any]:
        """A message with calls and results as text, for templates that know neither."""
        content = self._guarded(message.content)
        role = _role(message)
        if role == "tool":
            return {"role": "user", "content": hermes.result_text(content)}
        calls = [
            hermes.call_text(self._guarded(call.function.name), self._guarded(call.function.arguments) or "{}")
            for call in message.tool_calls
        ]
        return {"role": role, "content": "\n".join(filter(None, [content, *calls]))}

    def _guarded(self, text: str | None) -> str:
        """`text` with a mark inside all that spells a control token."""
        clean = (text or "").replace(_GUARD, "")
        return self._control.sub(lambda found: found[0][:1] + _GUARD + found[0][1:], clean)

    def _knows_tools(self) -> bool:
        arguments = '{"a":  1}'  # two spaces: shows that the text of arguments is repeated as it was
        call = ToolCall(id="call_0", function=FunctionCall(name="probed_call", arguments=arguments))
        messages = [
            _USER,
            self._native(Message(role="assistant", tool_calls=(call,))),
            {"role": "tool", "content": "probed_result", "tool_call_id": "call_0"},
        ]
        tool = self._tool(FunctionSpec(name="probed_call", description="probed_tool"))
        wanted = ("probed_tool", "probed_result", hermes.call_text("probed_call", arguments))
        return all(self._renders(text, messages, [tool]) for text in wanted)

    def _renders(
        self, wanted: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> bool:
        try:
            return wanted in self._template.render(messages, tools, answer=True)
        except BadRequest:
            return False


_USER = {"role": "user", "content": "probe"}


def _role(message: Message) -> str:
    return {"developer": "system", "function": "tool"}.get(message.role, message.role)


def _with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """`messages` with `text` at the end of the first message, which is made a system message."""
    if messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": f"You are a helpful assistant.\n\n{text}"}, *messages]


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`messages` with each system message put before the text of the next one, for templates that know no
    system role."""
    merged: list[dict[str, Any]] = []
    waiting = ""
    for message in messages:
        if message["role"] == "system":
            waiting += f"{message['content']}\n\n"
        else:
            merged.append({**message, "content": waiting + message["content"]})
            waiting = ""
    return [*merged, {"role": "user", "content": waiting.strip()}] if waiting else merged


def _arguments(text: str) -> RawJson | str:
    """Arguments of a call as an object, which is what templates expect; as text where they are none."""
    try:
        value: Any = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return RawJson(text or "{}", cast("dict[str, Any]", value)) if isinstance(value, dict) else text


def _begun(call: Generate) -> str:
    """The part of the answer that is there already. Raises BadRequest."""
    if not call.continues:
        return ""
    last = call.messages[-1]
    if last.role != "assistant" or last.tool_calls or len(call.messages) < 2:
        mend = "End `messages` with the text that the assistant is to go on with."
        raise BadRequest("There is no unfinished answer to go on with.", mend, param="continue_final_message")
    return last.content or ""


def _offered(call: Generate) -> tuple[ToolSpec, ...]:
    """The tools that the model is shown. Raises BadRequest for a `tool_choice` that names none of them."""
    if call.tool_choice in ("auto", "none"):
        return call.tools if call.tool_choice == "auto" else ()
    names = [tool.function.name for tool in call.tools]
    if call.tool_choice == "required" and not names:
        raise BadRequest("A tool call is required, and there are no tools.", "Send `tools`.", param="tools")
    if call.tool_choice != "required" and call.tool_choice.removeprefix("=") not in names:
        known = ", ".join(names) or "none"
        raise BadRequest(
            f"`tool_choice` {call.tool_choice!r} is none of the tools.",
            f"Use auto, none, required or one of: {known}.",
            param="tool_choice",
        )
    return call.tools


def _grammar(call: Generate, tools: Sequence[ToolSpec]) -> str | None:
    if not tools:
        return _answer_grammar(call.response_format)
    if call.tool_choice == "auto":
        return hermes.call_grammar(
            tools, required=False, parallel=call.parallel_tool_calls, answer=_schema(call.response_format)
        )
    named = [tool for tool in tools if tool.function.name == call.tool_choice.removeprefix("=")]
    parallel = call.parallel_tool_calls and not named
    return hermes.call_grammar(named or tools, required=True, parallel=parallel)


def _answer_grammar(form: ResponseFormat) -> str | None:
    match form.type:
        case "text":
            return None
        case "json_object" | "json_schema":
            return sources.json_schema(_schema(form) or {"type": "object"})
        case "grammar":
            return sources.grammar(_text(form))
        case "regex":
            return sources.regex(_text(form))


def _schema(form: ResponseFormat) -> dict[str, Any] | None:
    """The JSON schema of answers that are no calls; None: free text."""
    match form.type:
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            if form.schema is None:
                raise InvalidSchema("`response_format` has no schema.", "Add it.", param="response_format")
            return form.schema
        case _:
            raise BadRequest(
                f"Tools can't be combined with a response_format of type {form.type}.",
                "Leave one of them out.",
                param="response_format",
            )


def _text(form: ResponseFormat) -> str:
    if not form.grammar:
        raise InvalidSchema("`response_format` has no grammar.", "Add its text.", param="response_format")
    return form.grammar
