"""Calls every example of FastAPI's documentation and writes down what it answered.

Run twice by ``run_fastapi_examples``: once with FastAPI itself, once with pelton.web in its place.
The arguments are the folder of the examples and the file to write.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import random
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

BODIES: list[Any] = [{}, {"name": "Foo", "price": 42.5, "tax": 1.5}, [1], "text"]


def main(folder: str, target: str) -> None:
    """Runs all examples, sorted by name."""
    if os.environ.get("PELTON_AS_FASTAPI"):
        import pelton_as_fastapi  # noqa: F401
    sys.path.insert(0, folder)
    logging.disable()
    found: dict[str, Any] = {}
    for path in sorted(Path(folder, "docs_src").rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        if path.name == "__init__.py" or "_test" in path.name or path.name.startswith("test_"):
            continue
        found[name] = outcome(name)
    Path(target).write_text(json.dumps(found, indent=1, sort_keys=True))


def outcome(name: str) -> Any:
    """What became of one example: its document and answers, or the error of importing it."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
        except SystemExit:
            return "ends the process"
        except Exception as error:
            return {"import": plain(error)}
        app = getattr(module, "app", None)
        if not hasattr(app, "openapi"):
            return "no app"
        return answers(app)


def answers(app: Any) -> Any:
    """The document, and the answer to a request of each path and method."""
    from fastapi.testclient import TestClient

    found: dict[str, Any] = {}
    try:
        found["document"] = app.openapi()
        with TestClient(app, raise_server_exceptions=False) as client:
            for path, operations in (found["document"].get("paths") or {}).items():
                for method in operations:
                    for number, body in enumerate(BODIES):
                        if method in ("get", "head") and number:
                            break
                        found[f"{method} {path} {number}"] = answer(client, method, path, body)
    except Exception as error:
        found["error"] = plain(error)
    return found


def answer(client: Any, method: str, path: str, body: Any) -> Any:
    """Status, type and body of one answer; parameters of the path are all 7."""
    filled = "".join(
        part if at % 2 == 0 else "7" for at, part in enumerate(path.replace("}", "{").split("{"))
    )
    content = {} if method in ("get", "head") else {"json": body}
    # Some answer with what chance gives.
    random.seed(7)
    response = client.request(method, filled, params={"q": "query"}, **content)
    return [response.status_code, response.headers.get("content-type"), response.text[:4000]]


def plain(error: BaseException) -> str:
    """An exception's last line, without the names of modules."""
    line = traceback.format_exception_only(error)[-1].strip()
    kind, colon, text = line.partition(":")
    return kind.rpartition(".")[2] + colon + text


if __name__ == "__main__":
    main(*sys.argv[1:])
