"""What keeps a route from being used too much, too long, or for nobody: limits and deadlines.

Declared on path operations, routers and apps: ``limits``, ``deadline``, ``cancel_on_disconnect``.
"""

from .deadlines import Deadline as Deadline
from .deadlines import TimeLeft as TimeLeft
from .deadlines import deadline as deadline
from .errors import DeadlineExceeded as DeadlineExceeded
from .errors import Overloaded as Overloaded
from .errors import RateLimited as RateLimited
from .limits import ConcurrencyLimit as ConcurrencyLimit
from .limits import Limit as Limit
from .limits import RateLimit as RateLimit
from .limits import by_client as by_client
from .limits import by_header as by_header
