"""Finding APP: `module:attribute`, as uvicorn finds it."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pelton.cli.errors import CommandError


@dataclass(frozen=True)
class Found:
    """An application that was found: the object, its module, and the APP that named it."""

    app: Any
    module: ModuleType
    spec: str


def load(
    spec: str | None, *, factory: bool = False, app_dir: str = ".", asgi: bool = True
) -> Found:
    """Imports APP's module with `app_dir` first on `sys.path`, and takes its attribute.

    With `asgi=False` the attribute may be anything, and `module` alone may lack `app`: then the
    module itself is `Found.app` (a worker needs only what importing it declares).
    Raises CommandError, which says what was tried and what to do.
    """
    spec = check_spec(spec)
    module_name, _, attribute = spec.partition(":")
    directory = str(Path(app_dir).resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module = _import(spec, module_name, directory)
    if not attribute and not asgi and not factory and not hasattr(module, "app"):
        return Found(module, module, spec)
    target = _attribute(spec, module, attribute or "app")
    if factory:
        target = _call(spec, target)
    elif asgi:
        _refuse_factories(spec, target)
    if asgi and not callable(target):
        raise CommandError(
            f"APP {spec!r} is a {type(target).__name__}, not an ASGI application: "
            "name the attribute that holds the application"
        )
    return Found(target, module, spec)


def check_spec(spec: str | None) -> str:
    """APP as given, if it is of the form `module:attribute`; CommandError says what to do."""
    if not spec:
        raise CommandError(
            "no APP: say which application as module:attribute, for example app:app, "
            "or set PELTON_APP"
        )
    module_name = spec.partition(":")[0]
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        attribute = spec.partition(":")[2] or "app"
        raise CommandError(
            f"APP {spec!r} is a file; Pelton wants a module: try {dotted}:{attribute} "
            "(and --app-dir DIR if it is not below the current directory)"
        )
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise CommandError(f"APP {spec!r} is not of the form module:attribute, for example app:app")
    return spec


def broker_urls() -> list[str]:
    """The brokers of all Jobs objects that exist, each once, in the order of their creation."""
    if "pelton.jobs" not in sys.modules:
        return []
    from pelton.jobs import instances

    return list(dict.fromkeys(jobs.url for jobs in instances()))


def open_brokers() -> list[str]:
    """`broker_urls`, once each broker was opened by its Jobs object.

    Raises CommandError (code 1) for one that cannot be: before the application starts, and
    without a traceback, since that is nothing that its author can read anything from.
    """
    urls = broker_urls()
    if urls:
        from pelton.jobs import BrokerError, instances
        from pelton.jobs._store import shown

        for jobs in instances():
            try:
                _ = jobs.broker
            except (BrokerError, ValueError) as error:
                raise CommandError(f"the broker {shown(jobs.url)}: {error}", code=1) from None
    return urls


def _import(spec: str, module_name: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The application's own missing imports are another matter than a missing application.
        missing = error.name or ""
        if missing != module_name and not module_name.startswith(f"{missing}."):
            raise _broken(spec, error) from error
        raise CommandError(
            f"APP {spec!r}: no module {missing!r} (looked in {directory} and on sys.path): "
            "run from the directory that holds it, or name that with --app-dir"
        ) from None
    except CommandError:
        raise
    except Exception as error:
        raise _broken(spec, error) from error


def _broken(spec: str, error: Exception) -> CommandError:
    """The application's fault: its traceback, from its own first line on."""
    trace = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace, file=sys.stderr)
    return CommandError(f"APP {spec!r} raised {type(error).__name__} while being imported (above)")


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen") or "importlib" in filename


def _attribute(spec: str, module: ModuleType, path: str) -> Any:
    target: Any = module
    for name in path.split("."):
        try:
            target = getattr(target, name)
        except AttributeError:
            known = _candidates(module)
            hint = f"did you mean {' or '.join(known)}?" if known else "it has no application"
            raise CommandError(
                f"APP {spec!r}: module {module.__name__!r} ({module.__file__}) "
                f"has no attribute {path!r}; {hint}"
            ) from None
    return target


def _candidates(module: ModuleType) -> list[str]:
    """Attributes that look like applications: objects with routes that can be called."""
    return [
        f"{module.__name__}:{name}"
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, type)
        and callable(value)
        and hasattr(value, "routes")
    ]


def _call(spec: str, target: Any) -> Any:
    if not callable(target):
        raise CommandError(
            f"APP {spec!r} is a {type(target).__name__}, not a function: leave --factory away"
        )
    try:
        return target()
    except CommandError:
        raise
    except Exception as error:
        raise _broken(spec, error) from error


def _refuse_factories(spec: str, target: Any) -> None:
    if inspect.isfunction(target) and not inspect.signature(target).parameters:
        raise CommandError(
            f"APP {spec!r} is a function without arguments, not an ASGI application: "
            "if it returns the application, add --factory"
        )
