"""Runs inside a box: from a port of its own loopback to the socket of the host's proxy. Standard library
alone."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

PORT = 3128


def listener() -> socket.socket:
    """On which programs in the box reach the proxy."""
    made = socket.create_server(("127.0.0.1", PORT), backlog=64)
    made.setblocking(True)
    return made


def start(near: socket.socket, path: str) -> None:
    """Fork a process that serves `near`, until it is killed with the rest of the run."""
    if os.fork() == 0:
        try:
            while True:
                client, _ = near.accept()
                threading.Thread(target=_join, args=(client, path), daemon=True).start()
        finally:
            os._exit(0)


def _join(client: socket.socket, path: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as far, suppress(OSError):
        far.connect(path)
        back = threading.Thread(target=_copy, args=(far, client), daemon=True)
        back.start()
        _copy(client, far)
        back.join()


def _copy(reader: socket.socket, writer: socket.socket) -> None:
    with suppress(OSError):
        while data := reader.recv(1 << 16):
            writer.sendall(data)
        writer.shutdown(socket.SHUT_WR)
