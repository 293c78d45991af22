"""Finding APP: what is accepted, and what a wrong one is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pelton.cli import apps
from pelton.cli.errors import CommandError

APPLICATION = """
from starlette.applications import Starlette

app = Starlette()
other = Starlette()
number = 3

def build():
    return Starlette()

def broken():
    raise RuntimeError("no database")

async def plain(scope, receive, send): ...

class Namespace:
    inner = app
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory with modules; `sys.path` and `sys.modules` are as before afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "shop_app.py").write_text(APPLICATION)
    (tmp_path / "shop_needs.py").write_text("import surely_not_installed\n")
    (tmp_path / "shop_fails.py").write_text("1 / 0\n")
    package = tmp_path / "shop_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(APPLICATION)
    (tmp_path / "shop_tasks.py").write_text("jobs = object()\n")
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("spec", "attribute"),
    [
        ("shop_app:app", "app"),
        ("shop_app:other", "other"),
        ("shop_app", "app"),
        ("shop_app:plain", "plain"),
        ("shop_package.main:app", "app"),
    ],
)
def test_module_and_attribute(directory: Path, spec: str, attribute: str) -> None:
    found = apps.load(spec, app_dir=str(directory))
    assert found.app is getattr(found.module, attribute)
    assert found.spec == spec


def test_dotted_attribute(directory: Path) -> None:
    found = apps.load("shop_app:Namespace.inner", app_dir=str(directory))
    assert found.app is found.module.app


def test_factory(directory: Path) -> None:
    found = apps.load("shop_app:build", app_dir=str(directory), factory=True)
    assert type(found.app).__name__ == "Starlette"


def test_module_without_app_is_enough_for_a_worker(directory: Path) -> None:
    found = apps.load("shop_tasks", app_dir=str(directory), asgi=False)
    assert found.app is found.module


@pytest.mark.parametrize(
    ("spec", "wants"),
    [
        (None, "PELTON_APP"),
        ("shop_missing:app", "no module 'shop_missing' (looked in "),
        ("shop_package.missing:app", "no module 'shop_package.missing'"),
        ("shop_app:missing", "did you mean shop_app:app or shop_app:other?"),
        ("shop_tasks:app", "it has no application"),
        ("shop_app:number", "is a int, not an ASGI application"),
        ("shop_app:build", "add --factory"),
        ("shop_app.py", "try shop_app:app"),
        ("shop_package/main.py:other", "try shop_package.main:other"),
        ("shop app", "module:attribute"),
        ("", "PELTON_APP"),
        (":app", "module:attribute"),
    ],
)
def test_wrong_app_says_what_to_do(directory: Path, spec: str | None, wants: str) -> None:
    with pytest.raises(CommandError) as raised:
        apps.load(spec, app_dir=str(directory))
    assert wants in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("spec", "factory", "line", "says"),
    [
        ("shop_needs:app", False, "import surely_not_installed", "ModuleNotFoundError"),
        ("shop_fails:app", False, "1 / 0", "ZeroDivisionError"),
        ("shop_app:broken", True, 'raise RuntimeError("no database")', "RuntimeError"),
    ],
)
def test_error_inside_the_app_shows_its_traceback(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    spec: str,
    factory: bool,
    line: str,
    says: str,
) -> None:
    with pytest.raises(CommandError) as raised:
        apps.load(spec, app_dir=str(directory), factory=factory)
    assert says in str(raised.value)
    shown = capsys.readouterr().err
    assert line in shown
    assert "importlib" not in shown
