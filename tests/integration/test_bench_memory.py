"""The memory benchmarks measure what they say."""

import gzip
from pathlib import Path

import pytest

from aios.bench import memory as bench_memory
from aios.bench import recall as bench_recall
from aios.bench.conversations import read
from aios.errors import ConfigError
from aios.memory.manager import MemoryManager
from aios.memory.minilm import MiniLm

DIALOGUES = Path(__file__).resolve().parents[1] / "data" / "dialogues.json"


def test_the_shipped_dialogues_are_in_locomos_format_and_evidence_is_there():
    samples = bench_recall.load(DIALOGUES)
    assert len(samples) == 2
    assert sum(len(sample.qa) for sample in samples) >= 40
    for sample in samples:
        turns = {turn.dia_id: turn for turn in sample.turns()}
        assert len({turn.speaker for turn in turns.values()}) == 2
        assert all(question.evidence and set(question.evidence) <= set(turns) for question in sample.qa)


def test_a_file_that_holds_no_dialogues_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    for name in ("x.json", "absent.json"):
        with pytest.raises(ConfigError, match=name):
            bench_recall.load(tmp_path / name)


@pytest.mark.anyio
async def test_fusion_finds_clearly_more_than_words_alone(tmp_path):
    held_out = bench_recall.load(DIALOGUES)[1]
    async with MiniLm() as model, MemoryManager(tmp_path, embedder=model) as memory:
        rows = await bench_recall._ask(memory, held_out, "turns")
    found = {way: sum(row["recall@10"] for row in each) / len(each) for way, each in rows.items()}
    assert len(rows["fused"]) == len(held_out.qa)
    assert found["fused"] > found["BM25 alone"] + 0.15


def test_history_is_measured_on_enough_conversations():
    recorded, composed = read(Path(str(bench_memory.RECORDED))), bench_memory.conversations()
    assert len(composed) >= 100
    assert len(recorded) >= 100
    for talk in (*recorded, *composed):
        assert [message.role for message in talk[:3]] == ["system", "user", "assistant"]
        assert len(talk) >= 3


def test_conversations_of_others_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '[{"role": "user", "content": [{"type": "text", "text": "Hi"}], "x": 1}]\n\n'
        '{"messages": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": null}]}\n'
    )
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'[{"role": "system", "content": "Be."}]'))
    assert [[message.content for message in talk] for talk in read(tmp_path)] == [["Hi"], ["Ho", None], ["Be."]]


@pytest.mark.parametrize("line", ["", "{}", "[1]", "no JSON"])
def test_a_file_that_holds_no_conversations_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(line)
    for name in ("a.jsonl", "absent.jsonl"):
        with pytest.raises(ConfigError, match=name):
            read(tmp_path / name)


@pytest.mark.anyio
async def test_every_state_of_a_conversation_costs_little_more_than_the_last():
    result = await bench_memory._history(bench_memory.conversations()[:12])
    assert result["states"] > result["conversations"] == 12
    assert result["stored_chars"] <= result["once_chars"] < result["sent_chars"]
