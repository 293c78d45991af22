"""A peer's test suite: its source distribution, and an environment to run it in.

Both are kept in a cache outside the repository, shared by all clones: nothing of a suite is ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13")

_cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
CACHE = Path(os.environ.get("PELTON_CONFORMANCE_CACHE") or Path(_cache_home) / "pelton/conformance")


@dataclass(frozen=True)
class Suite:
    """A suite of one version: what it is called here, where it comes from, what it needs."""

    name: str
    version: str
    #: What is unpacked as the suite: a distribution's name, or None where the tests are installed.
    distribution: str | None = None
    #: Where its tags are, if the distribution comes without the tests.
    repository: str | None = None
    #: Lines of a requirements file.
    requirements: list[str] = field(default_factory=list)

    def place(self, python: str) -> Path:
        """The folder that belongs to this suite under a Python version."""
        return CACHE / f"{self.name}-{self.version}-py{python}"

    def source(self) -> Path:
        """The unpacked source distribution, fetched when it is not there yet."""
        assert self.distribution is not None
        downloads = CACHE / "sources"
        unpacked = downloads / f"{self.distribution.replace('-', '_')}-{self.version}"
        with _locked(downloads):
            if not unpacked.exists():
                if self.repository:
                    _clone(self.repository, self.version, unpacked)
                else:
                    _unpack(_download(downloads, self.distribution, self.version), unpacked)
        return unpacked

    def tests(self, *parts: str) -> Path:
        """A folder with nothing of the source but `parts`, by default its ``tests``.

        For suites of compiled packages: beside the source, they would import it uncompiled.
        """
        source = self.source()
        alone = source.with_name(f"{source.name}-tests")
        with _locked(source.parent):
            if not alone.exists():
                partial = alone.with_name(alone.name + ".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for part in parts or ("tests",):
                    if (source / part).is_dir():
                        shutil.copytree(source / part, partial / part)
                    else:
                        shutil.copy2(source / part, partial / part)
                partial.rename(alone)
        return alone

    def environment(self, python: str) -> Path:
        """The interpreter of a virtual environment with the requirements, made when needed."""
        place = self.place(python)
        interpreter = place / "venv/bin/python"
        wanted = "\n".join(self.requirements) + "\n"
        installed = place / "installed.txt"
        with _locked(place):
            if installed.exists() and installed.read_text() == wanted:
                return interpreter
            shutil.rmtree(place / "venv", ignore_errors=True)
            base = interpreter_of(python)
            subprocess.run([base, "-m", "venv", place / "venv"], check=True)
            listed = place / "requirements.txt"
            listed.write_text(wanted)
            pip(interpreter, "install", "--quiet", "-r", str(listed))
            installed.write_text(wanted)
        return interpreter


def interpreter_of(version: str) -> Path:
    """The interpreter of a minor version ("3.12"). SystemExit where there is none."""
    found = find_interpreter(version)
    if found is None:
        sys.exit(f"no Python {version} was found on PATH or under pyenv")
    return found


def find_interpreter(version: str) -> Path | None:
    """The interpreter of a minor version, that of no virtual environment; None without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [sys.executable, f"python{version}"]
    candidates += map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))
    question = "import os, sys; print('%d.%d' % sys.version_info[:2]); "
    question += "print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))"
    for candidate in candidates:
        # Run before it is believed: pyenv has shims for versions that are not active.
        with contextlib.suppress(OSError, ValueError):
            answer = subprocess.run(
                [candidate, "-c", question], capture_output=True, text=True, check=False
            )
            answered, path = answer.stdout.splitlines()
            if answered == version:
                return Path(path)
    return None


def running_version() -> str:
    """The minor version that runs this."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def build_for(version: str) -> None:
    """Builds pelton's extension for another Python than the running one, which `make` has built."""
    if version == running_version():
        return
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    environment = os.environ | {
        "PYTHON": str(interpreter_of(version)),
        "CARGO_TARGET_DIR": str(target / f"python-{version}"),
    }
    subprocess.run([ROOT / "scripts/build"], env=environment, check=True)


def pip(python: Path, *arguments: str) -> None:
    """Runs an interpreter's pip."""
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def _download(place: Path, distribution: str, version: str) -> Path:
    """The archive of a source distribution. It is not built: only its metadata may be asked for."""
    options = ("--quiet", "--no-deps", "--no-binary", distribution, "--dest", str(place))
    pip(Path(sys.executable), "download", *options, f"{distribution}=={version}")
    for name in (distribution.replace("-", "_"), distribution):
        archive = place / f"{name}-{version}.tar.gz"
        if archive.exists():
            return archive
    sys.exit(f"pip left no source distribution of {distribution} {version}")


def _clone(repository: str, tag: str, place: Path) -> None:
    """Gets one tag of a repository."""
    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1"]
    subprocess.run([*command, "--branch", tag, repository, str(partial)], check=True)
    partial.rename(place)


def _unpack(archive: Path, place: Path) -> None:
    """Unpacks into a name of its own first: an interrupted run leaves nothing half done."""
    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as members:
        members.extractall(partial, filter="data")
    (inner,) = partial.iterdir()
    inner.rename(place)
    partial.rmdir()


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Alone in `place` among all runners."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
