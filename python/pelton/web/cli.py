"""FastAPI's command under its own name; for Pelton's, see `pelton.cli`."""

from importlib import import_module
from typing import Any

cli_main: Any
try:
    cli_main = import_module("fastapi_cli.cli").main
except ImportError:
    cli_main = None


def main() -> None:
    """Runs the ``fastapi`` command, if the package ``fastapi-cli`` is installed.

    `pelton run` and `pelton serve` need no other package, and serve an app as fast as it gets.
    """
    if cli_main is None:
        message = (
            'To use the fastapi command, please install "fastapi-cli":\n\n'
            "\tpip install fastapi-cli\n\nor use Pelton's own: pelton run APP\n"
        )
        print(message)
        raise RuntimeError(message)
    cli_main()
