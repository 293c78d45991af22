"""Files of a directory: Starlette's."""

from starlette.staticfiles import StaticFiles as StaticFiles
