"""Whether forms can be parsed here."""

from ..logger import logger

multipart_not_installed_error = (
    'Form data requires "python-multipart" to be installed. \n'
    'You can install "python-multipart" with: \n\n'
    "pip install python-multipart\n"
)
"""What to do when nothing can parse forms."""

multipart_incorrect_install_error = (
    'Form data requires "python-multipart" to be installed. '
    'It seems you installed "multipart" instead. \n'
    'You can remove "multipart" with: \n\n'
    "pip uninstall multipart\n\n"
    'And then install "python-multipart" with: \n\n'
    "pip install python-multipart\n"
)
"""What to do when a package of a similar name is installed."""


def ensure_multipart_is_installed() -> None:
    """Raises `RuntimeError` with what to install when forms cannot be parsed."""
    problem = _problem()
    if problem is not None:
        logger.error(problem)
        raise RuntimeError(problem)


def _problem() -> str | None:
    try:
        from python_multipart import __version__

        # Text comparison on purpose: this only tells the renamed package from older ones.
        if __version__ > "0.0.12":
            return None
    except ImportError:
        pass
    try:
        from multipart import __version__ as other_version  # type: ignore[import-untyped]
    except ImportError:
        return multipart_not_installed_error
    if not other_version:
        return multipart_not_installed_error
    try:
        from multipart.multipart import parse_options_header  # type: ignore[import-untyped]
    except ImportError:
        return multipart_incorrect_install_error
    return None if parse_options_header else multipart_incorrect_install_error
