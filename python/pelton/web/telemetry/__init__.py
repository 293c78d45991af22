"""Spans, metrics and logs of requests, by OpenTelemetry, as FastAPI has them.

Needs ``pelton[telemetry]``. An app is observed as soon as the process has OpenTelemetry providers,
or is given some: ``FastAPI(telemetry={"tracer_provider": …})``. Where there are none, and where
OpenTelemetry is not installed, nothing is imported and nothing is paid.
"""

from .data import TelemetryConfig as TelemetryConfig
from .data import TelemetryData as TelemetryData
from .data import get_telemetry_data as get_telemetry_data
