"""The scripts and styles of the documentation pages, from an installed package if there is one."""

import importlib.util
from functools import lru_cache
from pathlib import Path

PACKAGE = "fastapi_offline"
"""The package that carries the files; the extra ``pelton[docs]`` installs it."""

SWAGGER_JS = "swagger-ui-bundle.js"
SWAGGER_CSS = "swagger-ui.css"
REDOC_JS = "redoc.standalone.js"
FAVICON = "favicon.png"
_FILES = (SWAGGER_JS, SWAGGER_CSS, REDOC_JS, FAVICON)


@lru_cache(maxsize=1)
def assets_directory() -> Path | None:
    """Where the files are; `None` where the package is missing or lacks one of them.

    The package is found, not imported: only its files are wanted.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or []:
        directory = Path(location) / "static"
        if all((directory / name).is_file() for name in _FILES):
            return directory
    return None
