"""The framework's logger."""

import logging

logger = logging.getLogger("pelton.web")
"""Where the framework reports what the user should hear of."""
