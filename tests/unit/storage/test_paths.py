"""What may be a path, and that nothing leads out of a root."""

import pytest

from aios.errors import InvalidPath
from aios.storage.paths import parse, parse_inner, show


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/", ()),
        ("a", ("a",)),
        ("/a/b", ("a", "b")),
        ("a//b/./c/", ("a", "b", "c")),
        ("/etc/passwd", ("etc", "passwd")),  # of the agent's own root: there is no other
        ("~/.ssh", ("~", ".ssh")),
        ("...", ("...",)),
        ("C:", ("C:",)),
        ("cafe\u0301", ("caf\u00e9",)),  # normal form C: one name, one file
        ("family \U0001f469\u200d\U0001f467.txt", ("family \U0001f469\u200d\U0001f467.txt",)),
        ("日本語", ("日本語",)),
        ("x" * 255, ("x" * 255,)),
    ],
)
def test_paths_are_names_from_the_root(path, parts):
    assert parse(path) == parts
    assert parse(show(parts)) == parts


@pytest.mark.parametrize(
    "path",
    [
        "..", "../a", "/..", "a/../b", "a/..", "./../x",
        "\uff0e\uff0e", "\u2025", "\u2024\u2024", "a/\uff0e\uff0e/b", "\u2024",  # ".." and "." in other dress
        "a\x00b", "\x00", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\x85b",
        "a\\b", "..\\b", "a\uff0fb", "a\u2044b", "a\u2215b", "a\uff3cb", "a\ufe68b",  # separators
        "a\u202egpj.exe", "a\u200bb", "a\ufeffb", "a\u2066b", "a\u2028b", "a\u2029b", "\u00ada",  # unseen
        "a\ud800b",
        "x" * 256, "é" * 128, "\U0001f600" * 64,
        "/".join("a" * 200 for _ in range(30)), "/".join("a" * 300),
        "", "℀",
    ],
)  # fmt: skip
def test_what_could_mean_another_place_is_refused(path):
    with pytest.raises(InvalidPath) as caught:
        parse(path)
    assert caught.value.param == "path"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["/", ".", "//", "./."])
def test_the_root_is_no_file(path):
    with pytest.raises(InvalidPath):
        parse_inner(path)


def test_a_path_is_text():
    with pytest.raises(InvalidPath, match="not bytes"):
        parse(b"/a")  # type: ignore[arg-type]
