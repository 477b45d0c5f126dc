"""Server-sent events: bytes in, the data of each event out.

Source: the event stream format of the HTML Living Standard, section 9.2.6. Comments and fields other than
`data` are skipped.
"""

from __future__ import annotations

from aios.errors import CoreProtocolError


class EventParser:
    """Cuts a stream into events. An event longer than `limit` bytes is an error, so that an endpoint that never
    ends a line can't fill the memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes. Raises CoreProtocolError."""
        events: list[bytes] = []
        lines = (self._rest + chunk).splitlines(keepends=True)
        # The last line may go on in the next chunk; after a CR a LF may follow that belongs to it.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data, self._size = [], 0
        if len(self._rest) > self._limit:
            raise self._too_long()
        return events

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise self._too_long()
        self._data.append(data)

    def _too_long(self) -> CoreProtocolError:
        return CoreProtocolError(
            f"The endpoint sent an event of more than {self._limit} bytes.", "Check that `base_url` is right."
        )
