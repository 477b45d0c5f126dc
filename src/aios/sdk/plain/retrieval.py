"""What of a tree is near the words of a command: shown to the model."""

from __future__ import annotations

from aios.sdk.plain.scene import Scene
from aios.sdk.plain.words import STOP, alike, words

FOLDERS = 12
FILES = 6


def shown(command: str, scene: Scene) -> str:
    """Folders at the top, and the files whose names or tags share most words with the command; "" for none."""
    wanted = [word for word in words(command) if word not in STOP]
    worth: dict[str, int] = {}
    for file in scene.files():
        own = (*words(file.path), *file.tags)
        worth[file.path] = sum(any(alike(word, other) for other in own) for word in wanted)
    files = [path for path in sorted(worth, key=lambda path: (-worth[path], path)) if worth[path]][:FILES]
    folders = [path.strip("/") for path in scene.folders() if path.count("/") == 1][:FOLDERS]
    lines = [f"Folders: {', '.join(folders)}"] if folders else []
    if files:
        lines.append(f"Files: {', '.join(path.strip('/') for path in files)}")
    return "".join(line + "\n" for line in lines)
