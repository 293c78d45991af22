"""What an application needs against the usual attacks."""

from pelton.security.headers import API_POLICY as API_POLICY
from pelton.security.headers import SecurityHeaders as SecurityHeaders
