"""FastAPI's module of this name, for libraries that import from it."""

from .aliases import get_validation_alias as get_validation_alias
from .analysis import get_dependant as get_dependant
from .analysis import get_parameterless_sub_dependant as get_parameterless_sub_dependant
from .analysis import get_stream_item_type as get_stream_item_type
from .analysis import get_typed_annotation as get_typed_annotation
from .analysis import get_typed_return_annotation as get_typed_return_annotation
from .analysis import get_typed_signature as get_typed_signature
from .body import request_body_to_args as request_body_to_args
from .flat import get_flat_params as get_flat_params
from .models import Dependant as Dependant
from .multipart import ensure_multipart_is_installed as ensure_multipart_is_installed
from .multipart import (
    multipart_incorrect_install_error as multipart_incorrect_install_error,
)
from .multipart import multipart_not_installed_error as multipart_not_installed_error
from .parameter import ParamDetails as ParamDetails
from .parameter import analyze_param as analyze_param
from .solve import SolvedDependency as SolvedDependency
from .solve import solve_dependencies as solve_dependencies
from .values import request_params_to_args as request_params_to_args
