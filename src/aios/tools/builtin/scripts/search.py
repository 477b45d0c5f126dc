"""In a box: find lines in files. See `text_search`."""

import json
import os
import re
import sys
from fnmatch import fnmatch

MOST_CHARS = 300
SKIPPED = {".git", "__pycache__", ".tmp"}


def main(pattern: str, folder: str, glob: str, regex: bool, ignore_case: bool, limit: int) -> dict[str, object]:
    try:
        wanted = re.compile(pattern if regex else re.escape(pattern), re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        return {"error": f"No regular expression: {error}.", "mend": "Correct it, or set regex to false."}
    if not os.path.isdir(folder):
        return {"error": f"There is no folder {folder!r}.", "mend": "Leave it out to search everywhere."}
    hits: list[dict[str, object]] = []
    files = matches = 0
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            whole = os.path.join(path, name)
            if not (fnmatch(name, glob) or fnmatch(whole, glob)) or not os.path.isfile(whole):
                continue
            files += 1
            try:
                with open(whole, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        if wanted.search(line):
                            matches += 1
                            if len(hits) < limit:
                                text = line.rstrip("\n")[:MOST_CHARS]
                                hits.append({"file": os.path.normpath(whole), "line": number, "text": text})
            except (UnicodeDecodeError, OSError):
                continue  # no text, or not readable
    return {"matches": matches, "files_searched": files, "hits": hits}


json.dump(main(**json.load(sys.stdin)), sys.stdout)
