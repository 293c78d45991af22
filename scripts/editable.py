"""Installs this tree, editable, into the environment of the interpreter that runs it.

`maturin develop` does the same and builds as well, but passes cargo other settings than
`cargo test` and `cargo clippy` get, so that each would rebuild PyO3 after the other. So the build
is `scripts/build`, and this writes what remains: the path, the metadata, the entry points.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAUNCHER = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def main() -> None:
    """Write the path file, the metadata and the console scripts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    site = Path(sysconfig.get_path("purelib"))
    write_metadata(site, project, workspace["package"]["version"])
    (site / "pelton.pth").write_text(f"{ROOT / 'python'}\n")
    for name, target in project.get("scripts", {}).items():
        write_launcher(Path(sysconfig.get_path("scripts")) / name, target)


def write_metadata(site: Path, project: dict[str, object], version: str) -> None:
    """Write the dist-info directory, as `importlib.metadata` and pip read it."""
    for old in site.glob("pelton-*.dist-info"):
        shutil.rmtree(old)
    directory = site / f"pelton-{version}.dist-info"
    directory.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: pelton", f"Version: {version}"]
    dependencies = project["dependencies"]
    assert isinstance(dependencies, list)
    lines += [f"Requires-Dist: {dependency}" for dependency in dependencies]
    (directory / "METADATA").write_text("\n".join(lines) + "\n")
    (directory / "INSTALLER").write_text("scripts/editable.py\n")
    (directory / "RECORD").write_text(f"pelton.pth,,\n{directory.name}/METADATA,,\n")
    (directory / "entry_points.txt").write_text(entry_points(project))


def entry_points(project: dict[str, object]) -> str:
    """The entry points of pyproject.toml in the format of the installed metadata."""
    groups: dict[str, dict[str, str]] = {"console_scripts": project.get("scripts", {})}  # type: ignore[dict-item]
    groups |= project.get("entry-points", {})  # type: ignore[arg-type]
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in groups.items()
    )


def write_launcher(path: Path, target: str) -> None:
    """Write the console script that calls `module:function`."""
    match = re.fullmatch(r"([\w.]+):(\w+)", target)
    assert match, f"pyproject.toml: {target!r} is not module:function"
    python = Path(sysconfig.get_path("scripts")) / "python"
    path.write_text(LAUNCHER.format(python=python, module=match[1], function=match[2]))
    path.chmod(0o755)


if __name__ == "__main__":
    main()
