"""A real, tiny, random model: the engine decodes thousands of its tokens a second, so that tests are quick and
a benchmark of the kernel is not one of the model."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
PIECES = ["▁", "▁the", "▁a", "he", "in", "er", "an", "re", "on", "▁t", "▁s", "ing", "▁of", "and", "ou", "it"]


def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Texts, scores and types: control tokens, all bytes, some pieces, printable characters."""
    tokens = [(text, 0.0, gguf.TokenType.CONTROL) for text in CONTROL]
    tokens[0] = ("<unk>", 0.0, gguf.TokenType.UNKNOWN)
    tokens += [(f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    tokens += [(text, -float(i + 1), gguf.TokenType.NORMAL) for i, text in enumerate(PIECES)]
    tokens += [(chr(c), -100.0 - c, gguf.TokenType.NORMAL) for c in range(33, 127)]
    texts, scores, types = zip(*tokens, strict=True)
    return list(texts), list(scores), [int(t) for t in types]


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    n_layer: int = 2,
    n_embd: int = 64,
    n_ctx: int = 4096,
    chat_template: str = CHATML,
) -> Path:
    """Write a random llama model of about half a megabyte to `path` and return it. The weights are scaled such
    that what it generates depends on the prompt."""
    random = np.random.default_rng(seed)
    texts, scores, types = vocabulary()
    n_ff, n_head = 2 * n_embd, 4
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny random")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_vocab_size(len(texts))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    if chat_template:
        writer.add_chat_template(chat_template)

    def tensor(name: str, *shape: int, scale: float = 1.0) -> None:
        values = random.standard_normal(shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, values.astype(np.float32))

    ones = np.ones(n_embd, dtype=np.float32)
    tensor("token_embd.weight", len(texts), n_embd, scale=8.0)
    writer.add_tensor("output_norm.weight", ones)
    tensor("output.weight", len(texts), n_embd, scale=3.0)
    for i in range(n_layer):
        writer.add_tensor(f"blk.{i}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", ones)
        tensor(f"blk.{i}.attn_q.weight", n_embd, n_embd, scale=2.0)
        tensor(f"blk.{i}.attn_k.weight", n_embd // 2, n_embd, scale=2.0)
        tensor(f"blk.{i}.attn_v.weight", n_embd // 2, n_embd, scale=2.0)
        tensor(f"blk.{i}.attn_output.weight", n_embd, n_embd, scale=2.0)
        tensor(f"blk.{i}.ffn_gate.weight", n_ff, n_embd)
        tensor(f"blk.{i}.ffn_up.weight", n_ff, n_embd)
        tensor(f"blk.{i}.ffn_down.weight", n_embd, n_ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
