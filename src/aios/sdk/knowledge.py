"""Memory and files as tools that an agent's model can call."""

from __future__ import annotations

from aios.sdk.files import AsyncFiles
from aios.sdk.memory import AsyncMemory
from aios.sdk.tool import Tool, tool

SHOWN_CHARS = 4_000
"""Of a file that a model is shown at once."""


def memory_tools(memory: AsyncMemory) -> list[Tool]:
    """`remember`, `recall`, `edit_memory`."""

    @tool
    async def remember(text: str, tags: list[str] | None = None) -> str:
        """Keep something for later conversations.

        text: what to remember, as a whole sentence
        tags: words to find it by"""
        note = await memory.note(text, tags=tags or [])
        return f"Remembered as {note.id}."

    @tool
    async def recall(query: str, limit: int = 5) -> str:
        """Look up what was remembered.

        query: what it was about"""
        hits = await memory.search(query, limit=limit)
        return "\n".join(f"[{hit.id}] {hit.text}" for hit in hits) or "Nothing was found."

    @tool
    async def edit_memory(block: str, text: str, replacing: str = "") -> str:
        """Change a block of the instructions you always see: add a line, or replace one.

        block: its name
        text: what it shall say
        replacing: the text that it takes the place of; none: it is added"""
        return (await memory.edit_block(block, text, replacing=replacing)).text

    return [remember, recall, edit_memory]


def file_tools(files: AsyncFiles) -> list[Tool]:
    """`list_files`, `read_file`, `write_file`, `append_file`, `move_file`, `delete_file`, `find_files`."""

    @tool
    async def list_files(folder: str = "/") -> str:
        """List a folder."""
        names = [f"{entry.path}{'/' if entry.kind == 'dir' else ''}" async for entry in files.list(folder)]
        return "\n".join(names) or "The folder is empty."

    @tool
    async def read_file(path: str, offset: int = 0) -> str:
        """Read a text file.

        offset: byte to begin at"""
        data = await files.read_range(path, offset, SHOWN_CHARS)
        size = (await files.stat(path)).size
        more = f"\n(of {size} bytes; read on at {offset + len(data)})" if offset + len(data) < size else ""
        return data.decode("utf-8", "replace") + more

    @tool
    async def write_file(path: str, text: str) -> str:
        """Make a text the whole content of a file. What it was before stays as an older version."""
        done = await files.write(path, text)
        return f"{done.path} has {done.size} bytes, version {done.version}."

    @tool
    async def append_file(path: str, text: str) -> str:
        """Add a text to the end of a file."""
        done = await files.append(path, text)
        return f"{done.path} has {done.size} bytes, version {done.version}."

    @tool
    async def move_file(path: str, to: str) -> str:
        """Move or rename a file or folder."""
        return (await files.move(path, to)).path

    @tool
    async def delete_file(path: str) -> str:
        """Put a file into the bin."""
        gone = await files.delete(path)
        return f"{gone.path} is in the bin as {gone.id}."

    @tool
    async def find_files(query: str, limit: int = 5) -> str:
        """Find files by what they say."""
        hits = await files.find(query, limit=limit)
        return "\n".join(f"{hit.stat.path}: {' '.join(hit.passage.split())[:120]}" for hit in hits) or "None."

    return [list_files, read_file, write_file, append_file, move_file, delete_file, find_files]
