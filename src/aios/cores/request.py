"""A syscall as the body of a request to an OpenAI-compatible endpoint. Pure.

A sampling parameter that has its default is not sent, so that the endpoint's own default holds; one that the
kernel does not know (`Generate.extra`) is passed on as it is.
"""

from __future__ import annotations

from typing import Any

from aios.errors import BadRequest
from aios.syscalls import Embed, Generate, Message, Sampling, ToolSpec

PLAIN = Sampling()
NEWER_LIMIT = "max_completion_tokens"
"""What newer models of one cloud call `max_tokens`."""

SEED_STEP = 0x9E3779B1
"""Odd, and near 2**32 over the golden ratio: seeds of near positions are far apart (Knuth, The Art of Computer
Programming, volume 3, section 6.4)."""

CONTINUED = {"continue_final_message": True, "add_generation_prompt": False}
"""What engines that can go on with an assistant's message want to be told."""


def path_of(call: Generate) -> str:
    """Where the call goes, below `base_url`."""
    return "chat/completions" if call.prompt is None else "completions"


def body_of(call: Generate, model: str) -> dict[str, Any]:
    """The body of a chat or text completion. Raises BadRequest for what no such endpoint can do."""
    if call.sampling.num_beams > 1:
        mend = "Leave `num_beams` out, or name a model of an embedded core."
        raise BadRequest("A core behind an endpoint has no beam search.", mend, param="num_beams")
    body: dict[str, Any] = {**call.extra, "model": model}
    if call.prompt is None:
        body["messages"] = [_message(message) for message in call.messages]
        if call.continues:
            body |= CONTINUED
        _add_tools(body, call)
        if call.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": call.logprobs}
    else:
        body["prompt"] = call.prompt
        if call.logprobs is not None:
            body["logprobs"] = call.logprobs
        if call.echo:
            body["echo"] = True
    if call.response_format.type != "text":
        body["response_format"] = _format(call)
    if call.sampling != PLAIN:
        body |= _sampling(call.sampling)
    if call.max_tokens is not None:
        body["max_tokens"] = call.max_tokens
    if call.stop:
        body["stop"] = call.stop
    if call.n != 1:
        body["n"] = call.n
    body["stream"] = call.stream
    if call.stream:
        body["stream_options"] = {"include_usage": True}
    return body


def continuable(call: Generate) -> bool:
    """An answer to `call` that was cut can be gone on with, from its text alone."""
    plain = call.response_format.type == "text" and not call.tools and call.logprobs is None
    return plain and call.stream and call.n == 1 and not call.echo and not isinstance(call.prompt, tuple)


def starts_anew(call: Generate) -> bool:
    """What is gone on with is not what there would have been, whatever the endpoint does: a sampler starts from
    its seed again, and penalties count only what the request itself generates."""
    sampling = call.sampling
    drawn = sampling.seed is not None and sampling.temperature > 0
    return drawn or bool(sampling.presence_penalty or sampling.frequency_penalty)


def continued(body: dict[str, Any], text: str, tokens: int) -> dict[str, Any]:
    """The body that asks to go on after `text`, of `tokens` tokens."""
    rest = dict(body)
    if "messages" in body:
        *before, last = body["messages"]
        if "continue_final_message" in body:
            rest["messages"] = [*before, {**last, "content": last["content"] + text}]
        else:
            rest["messages"] = [*body["messages"], {"role": "assistant", "content": text}]
            rest |= CONTINUED
    else:
        rest["prompt"] = body["prompt"] + text
    for limit in ("max_tokens", NEWER_LIMIT):
        if limit in body:
            rest[limit] = max(1, body[limit] - tokens)
    if "seed" in body:
        rest["seed"] = (body["seed"] + tokens * SEED_STEP) % 2**31  # the same draws again would be no draws
    return rest


def embedding_body(call: Embed, model: str) -> dict[str, Any]:
    """The body of a request for embeddings."""
    body: dict[str, Any] = {"model": model, "input": call.inputs, "encoding_format": "float"}
    if call.dimensions is not None:
        body["dimensions"] = call.dimensions
    return body


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        wire["name"] = message.name
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    return wire


def _add_tools(body: dict[str, Any], call: Generate) -> None:
    if not call.tools:
        return
    body["tools"] = [_tool(tool) for tool in call.tools]
    choice = call.tool_choice
    if choice.startswith("="):
        body["tool_choice"] = {"type": "function", "function": {"name": choice[1:]}}
    elif choice != "auto":
        body["tool_choice"] = choice
    if not call.parallel_tool_calls:
        body["parallel_tool_calls"] = False


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.function.name}
    if tool.function.description:
        function["description"] = tool.function.description
    if tool.function.parameters:
        function["parameters"] = tool.function.parameters
    return {"type": "function", "function": function}


def _format(call: Generate) -> dict[str, Any]:
    form = call.response_format
    match form.type:
        case "json_schema":
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.schema or {}}}
        case "grammar" | "regex":
            raise BadRequest(
                f"OpenAI-compatible endpoints have no common way to ask for a {form.type}.",
                "Send the endpoint's own parameter in the request body; the kernel passes it on.",
                param="response_format",
            )
        case _:
            return {"type": form.type}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    given = {
        name: value
        for name in PLAIN.__struct_fields__
        if (value := getattr(sampling, name)) != getattr(PLAIN, name)
    }
    if "logit_bias" in given:
        given["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return given
