"""Memory and files as functions that a model can call: each is one or a few syscalls of the agent that asks.

They are written once and offered twice: by the kernel (`tools/builtin/knowledge.py`), and by the SDK to agents
that run their own tools (`sdk/knowledge.py`). Either gives `trap`, which is no argument of the model's.
"""

from __future__ import annotations

import codecs

from aios.syscalls import Trap, memory, storage

SHOWN_BYTES = 4_000
"""Of a file that a model is shown at once."""
LISTED = 500
"""Entries of a folder that a model is shown."""

# -- memory -----------------------------------------------------------------------------------------


async def remember(text: str, trap: Trap, tags: list[str] | None = None) -> str:
    """Keep something for later conversations.

    text: what to remember, as a whole sentence
    tags: words to find it by"""
    note = await trap(memory.AddNote(content=text, tags=tuple(tags or ())))
    return f"Remembered as {note.id}."


async def recall(query: str, trap: Trap, limit: int = 5) -> str:
    """Look up what was remembered.

    query: what it was about"""
    hits = (await trap(memory.Search(query=query, limit=limit))).hits
    return "\n".join(f"[{hit.id}] {hit.text}" for hit in hits) or "Nothing was found."


async def add_memory(text: str, trap: Trap, name: str = "", tags: list[str] | None = None) -> str:
    """Keep a text exactly as it is; `recall` finds it, `read_memory` gives it back whole.

    name: what to call it
    tags: words to find it by"""
    made = await trap(memory.Alloc(text=text, name=name, tags=tuple(tags or ())))
    return f"Kept as {made.id}."


async def read_memory(id: str, trap: Trap) -> str:
    """Read something that was remembered, whole.

    id: as `recall` shows it"""
    return (await trap(memory.Read(id=id))).data.decode("utf-8", "replace")


async def edit_memory(block: str, text: str, trap: Trap, replacing: str = "") -> str:
    """Change a block of the instructions you always see: add a line, or replace one.

    block: its name
    text: what it shall say
    replacing: the text that it takes the place of; none: it is added"""
    action = "replace" if replacing else "append"
    return (await trap(memory.EditBlock(block=block, action=action, text=text, old=replacing))).text


async def memory_blocks(trap: Trap) -> str:
    """Show the blocks of the instructions you always see."""
    return (await trap(memory.ListBlocks())).text or "There are no blocks."


# -- files ------------------------------------------------------------------------------------------


async def list_files(trap: Trap, folder: str = "/") -> str:
    """List a folder."""
    page = await trap(storage.ListFolder(path=folder, limit=LISTED))
    names = [f"{entry.path}{'/' if entry.kind == 'dir' else ''}" for entry in page.entries]
    more = ["(and more; find_files finds them by what they say)"] if page.cursor else []
    return "\n".join(names + more) or "The folder is empty."


async def read_file(path: str, trap: Trap, offset: int = 0) -> str:
    """Read a text file.

    offset: byte to begin at"""
    content = await trap(storage.ReadFile(path=path, offset=offset, length=SHOWN_BYTES))
    size, end = content.stat.size, offset + len(content.data)
    if end >= size:
        return content.data.decode("utf-8", "replace")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content.data)
    end -= len(decoder.getstate()[0])  # a character that is cut in two is left for the next time
    return f"{text}\n(of {size} bytes; read on at {end})"


async def write_file(path: str, text: str, trap: Trap) -> str:
    """Make a text the whole content of a file. What it was before stays as an older version."""
    done = await trap(storage.WriteFile(path=path, text=text))
    return f"{done.path} has {done.size} bytes, version {done.version}."


async def append_file(path: str, text: str, trap: Trap) -> str:
    """Add a text to the end of a file."""
    done = await trap(storage.AppendFile(path=path, text=text))
    return f"{done.path} has {done.size} bytes, version {done.version}."


async def move_file(path: str, to: str, trap: Trap) -> str:
    """Move or rename a file or folder."""
    return (await trap(storage.Move(path=path, to=to))).path


async def delete_file(path: str, trap: Trap) -> str:
    """Put a file into the bin."""
    gone = await trap(storage.DeleteFile(path=path))
    return f"{gone.path} is in the bin as {gone.id}."


async def find_files(query: str, trap: Trap, limit: int = 5) -> str:
    """Find files by what they say."""
    hits = (await trap(storage.Find(query=query, limit=limit))).hits
    return "\n".join(f"{hit.stat.path}: {' '.join(hit.passage.split())[:120]}" for hit in hits) or "None."


OF_MEMORY = (remember, recall, add_memory, read_memory, edit_memory, memory_blocks)
OF_FILES = (list_files, read_file, write_file, append_file, move_file, delete_file, find_files)
READERS = (recall, read_memory, memory_blocks, list_files, read_file, find_files)
"""Those that change nothing."""
