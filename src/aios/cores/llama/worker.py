"""The engine's worker process: `python -m aios.cores.llama.worker FD`.

It runs in a process of its own so that a crash of the native code costs no agent its answer. One thread reads
commands and does what needs no engine (tokenizing, building generations); the main thread runs the engine. It
ends when its socket does: no orphan outlives the kernel.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from pathlib import Path

import msgspec

from aios.cores.llama.arena import Arena
from aios.cores.llama.embedder import Embedder
from aios.cores.llama.embedqueue import EmbedQueue
from aios.cores.llama.engine import Engine
from aios.cores.llama.ffi import Library
from aios.cores.llama.gauge import Gauge
from aios.cores.llama.generation import Generation
from aios.cores.llama.grammar import GrammarFactory
from aios.cores.llama.images import Images
from aios.cores.llama.lanes import BeamRun
from aios.cores.llama.messages import (
    DEFAULT_WINDOW,
    FRAME,
    Close,
    Damaged,
    EmbedTexts,
    Failed,
    FromWorker,
    Move,
    Moved,
    Op,
    Options,
    Ready,
    Start,
    StartBeams,
    Stop,
    TokenIds,
    Tokenize,
    ToWorker,
    frame,
    from_wire,
)
from aios.cores.llama.model import Model
from aios.cores.llama.parking import untouched
from aios.cores.ram import Ram
from aios.errors import AiosError


class Channel:
    """Framed messages over the socket. Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = sock.makefile("rb")
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, *messages: FromWorker) -> None:
        data = b"".join(frame(message, self._encoder) for message in messages)
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> bytes:
        """One message's bytes; b"" at the end."""
        head = self._reader.read(FRAME.size)
        return self._reader.read(FRAME.unpack(head)[0]) if len(head) == FRAME.size else b""


class Inbox:
    """Commands for the engine thread."""

    def __init__(self) -> None:
        self._items: deque[Generation | BeamRun | Stop | EmbedTexts | Move | Close] = deque()
        self._filled = threading.Event()

    def put(self, item: Generation | BeamRun | Stop | EmbedTexts | Move | Close) -> None:
        self._items.append(item)
        self._filled.set()

    def take(self, *, wait: bool) -> list[Generation | BeamRun | Stop | EmbedTexts | Move | Close]:
        if wait:
            self._filled.wait()
        self._filled.clear()
        taken: list[Generation | BeamRun | Stop | EmbedTexts | Move | Close] = []
        while self._items:
            taken.append(self._items.popleft())
        return taken


class Worker:
    """The process: a reader thread and the engine loop."""

    def __init__(self, channel: Channel, options: Options) -> None:
        ram = Ram()
        free = _least(ram.free(), options.free)  # before the weights are in it
        self._channel = channel
        self._model = Model(Library(), Path(options.model), gpu_layers=options.gpu_layers)
        window = options.context or min(self._model.trained or DEFAULT_WINDOW, DEFAULT_WINDOW)
        self._options = options = msgspec.structs.replace(options, context=window)
        self._gauge = Gauge.of(self._model, options)
        self._gauge.check(options, free)
        before = ram.asked_for()
        self._engine = Engine(self._model, options, Arena(options.arena_fd, options.arena_bytes))
        self._gauge = self._gauge.opened(ram.asked_for() - before)
        self._gauge.check(options, free)
        self._images = Images(self._gauge.context)  # read here, where it keeps no slot waiting
        embedder = Embedder(
            self._model, window=window, threads=options.threads, ram=ram,
            reserved=lambda: untouched(options.arena_fd),
        )  # fmt: skip
        vocabulary = self._model.vocabulary
        self._texts = EmbedQueue(
            lambda tokens: embedder.embed(tokens or [vocabulary.eos]),
            lambda text: self._model.tokenize(text, special=False, bos=True),
            window,
        )
        self._inbox = Inbox()
        self._grammars = GrammarFactory(
            vocabulary.raw,
            eos=vocabulary.eos,
            eog=vocabulary.eog,
            special=vocabulary.control,
            tokenize=lambda data: self._model.tokenize(
                data.decode("utf-8", "replace"), special=False, bos=False
            ),
        )

    def run(self) -> None:
        self._channel.send(
            Ready(
                info=self._model.info(),
                context=self._engine.window,
                extent_base=self._gauge.base,
                extent_per_token=self._gauge.per_token,
                prefill_s=self._gauge.prefill_s,
                taken=self._gauge.taken,
            )
        )
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            for command in self._inbox.take(wait=self._engine.idle and self._texts.idle):
                if isinstance(command, Close):
                    return
                self._command(command)
            if not self._engine.idle and (happened := self._engine.step()):
                self._channel.send(*happened)
            if answer := self._texts.step(busy=not self._engine.idle):
                self._channel.send(answer)
            while self._engine.slots.damaged:
                path, why = self._engine.slots.damaged.pop()
                self._channel.send(Damaged(path=str(path), why=why))

    def _command(self, command: Generation | BeamRun | Stop | EmbedTexts | Move) -> None:
        match command:
            case Generation():
                self._engine.start(command)
            case BeamRun():
                self._engine.search(command)
            case Stop(id=sequence):
                self._texts.drop(sequence)
                if left := self._engine.stop(sequence):
                    self._channel.send(left)
            case EmbedTexts():
                self._texts.put(command)
            case Move(request=request, ops=ops):
                for op in ops:
                    self._engine.slots.apply(from_wire(op))
                self._channel.send(Moved(request=request))

    def _read(self) -> None:
        decoder = msgspec.msgpack.Decoder(ToWorker)
        while body := self._channel.receive():
            message = decoder.decode(body)
            try:
                self._receive(message)
            except AiosError as error:
                failed = message.id if isinstance(message, Start | StartBeams) else 0
                self._channel.send(Failed(id=failed, code=error.code, what=error.what, mend=error.mend))
        # The kernel is gone: there is nobody to finish a step for.
        os._exit(0)

    def _receive(self, message: ToWorker) -> None:
        match message:
            case Tokenize(request=request, parts=parts, special=special, bos=bos):
                ids: list[int] = []
                for i, part in enumerate(parts):
                    ids += self._model.tokenize(part, special=special, bos=bos and i == 0)
                self._channel.send(TokenIds(request=request, ids=ids))
            case Start():
                images = self._images.read(_swapped(message.ops))
                self._inbox.put(Generation(message, self._model.vocabulary, self._grammars, images))
            case StartBeams():
                images = self._images.read(_swapped(message.ops))
                self._inbox.put(BeamRun(message, self._model.vocabulary, images))
            case Stop() | EmbedTexts() | Move() | Close():
                self._inbox.put(message)


def _swapped(ops: list[Op]) -> list[Path]:
    return [Path(op.path) for op in ops if op.what == "swap_in"]


def _least(*sizes: int | None) -> int | None:
    """Of those that are known."""
    return min([size for size in sizes if size is not None], default=None)


def main() -> None:
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    options = msgspec.msgpack.decode(channel.receive(), type=Options)
    try:
        worker = Worker(channel, options)
        worker.run()
    except AiosError as error:
        channel.send(Failed(id=0, code=error.code, what=error.what, mend=error.mend))
        sys.exit(1)


if __name__ == "__main__":
    main()
