"""Which files count as changed."""

from __future__ import annotations

import os
from pathlib import Path

from pelton.cli.sources import Sources


def test_changed_added_and_removed_files(tmp_path: Path) -> None:
    for name in ("kept.py", "edited.py", "gone.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    sources = Sources(tmp_path)
    assert sources.changed() == []
    os.utime(tmp_path / "edited.py", (1, 1))
    os.utime(tmp_path / "notes.txt", (1, 1))
    (tmp_path / "gone.py").unlink()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/new.py").write_text("1")
    assert sources.changed() == ["edited.py", "gone.py", "inner/new.py"]
    assert sources.changed() == []


def test_what_is_not_the_applications_is_left_out(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    environment = tmp_path / "my-environment"
    for folder in (environment, tmp_path / ".git", tmp_path / "node_modules"):
        folder.mkdir()
        (folder / "module.py").write_text("1")
    (environment / "pyvenv.cfg").touch()
    assert sources.changed() == []


def test_patterns_say_which_files(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "pages").mkdir()
    sources = Sources(tmp_path, include=("*.html", "pages/*"), exclude=("left", "*.tmp.html"))
    for name in ("a.html", "a.tmp.html", "a.py", "left/b.html", "pages/c.css"):
        (tmp_path / name).touch()
    assert sources.changed() == ["a.html", "pages/c.css"]
