import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_reference_is_current_and_says_something_of_every_field():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.TARGET.read_text("utf-8")
    assert page == generate.text(), "run `make docs`"
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 25
    assert all(not row.rstrip().endswith("| |") for row in rows)


def test_every_file_named_in_the_architecture_page_exists():
    import re

    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.(?:py|sql))`", page))
    assert len(named) > 25
    everywhere = {str(p.relative_to(ROOT / "src" / "aios")) for p in (ROOT / "src" / "aios").rglob("*.*")}
    missing = {n for n in named if not any(f == n or f.endswith("/" + n) for f in everywhere)}
    assert not missing
