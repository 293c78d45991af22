"""FastAPI 0.163.2's public names and their parameters, as its users may write them."""

from __future__ import annotations

NAMES: dict[str, str] = {
    "": "FastAPI APIRouter BackgroundTasks UploadFile HTTPException WebSocketException Body Cookie "
    "Depends File Form Header Path Query Security Request Response WebSocket WebSocketDisconnect "
    "status __version__",
    "applications": "FastAPI",
    "routing": "APIRouter APIRoute APIWebSocketRoute Mount RouteContext iter_route_contexts "
    "request_response get_request_handler serialize_response run_endpoint_function",
    "params": "ParamTypes Param Path Query Header Cookie Body Form File Depends Security",
    "param_functions": "Path Query Header Cookie Body Form File Depends Security",
    "security": "APIKeyCookie APIKeyHeader APIKeyQuery HTTPAuthorizationCredentials HTTPBasic "
    "HTTPBasicCredentials HTTPBearer HTTPDigest OAuth2 OAuth2AuthorizationCodeBearer "
    "OAuth2PasswordBearer OAuth2PasswordRequestForm OAuth2PasswordRequestFormStrict "
    "SecurityScopes OpenIdConnect",
    "security.api_key": "APIKeyCookie APIKeyHeader APIKeyQuery",
    "security.http": "HTTPAuthorizationCredentials HTTPBase HTTPBasic HTTPBasicCredentials "
    "HTTPBearer HTTPDigest",
    "security.oauth2": "OAuth2 OAuth2AuthorizationCodeBearer OAuth2PasswordBearer "
    "OAuth2PasswordRequestForm OAuth2PasswordRequestFormStrict SecurityScopes",
    "security.open_id_connect_url": "OpenIdConnect",
    "security.base": "SecurityBase",
    "security.utils": "get_authorization_scheme_param",
    "responses": "Response JSONResponse HTMLResponse PlainTextResponse RedirectResponse "
    "StreamingResponse FileResponse EventSourceResponse UJSONResponse ORJSONResponse",
    "sse": "EventSourceResponse ServerSentEvent format_sse_event",
    "exceptions": "HTTPException WebSocketException FastAPIError DependencyScopeError "
    "ValidationException RequestValidationError WebSocketRequestValidationError "
    "ResponseValidationError PydanticV1NotSupportedError FastAPIDeprecationWarning EndpointContext",
    "exception_handlers": "http_exception_handler request_validation_exception_handler "
    "websocket_request_validation_exception_handler",
    "encoders": "jsonable_encoder isoformat decimal_encoder ENCODERS_BY_TYPE "
    "generate_encoders_by_class_tuples",
    "datastructures": "UploadFile FormData Headers QueryParams URL Address State Default "
    "DefaultPlaceholder",
    "middleware": "Middleware",
    "middleware.cors": "CORSMiddleware",
    "middleware.gzip": "GZipMiddleware",
    "middleware.trustedhost": "TrustedHostMiddleware",
    "middleware.httpsredirect": "HTTPSRedirectMiddleware",
    "middleware.wsgi": "WSGIMiddleware",
    "middleware.asyncexitstack": "AsyncExitStackMiddleware",
    "openapi.docs": "get_swagger_ui_html get_redoc_html get_swagger_ui_oauth2_redirect_html",
    "openapi.utils": "get_openapi",
    "openapi.constants": "REF_PREFIX",
    "openapi.models": "APIKey APIKeyIn Components Contact Discriminator Encoding Example "
    "ExternalDocumentation HTTPBase HTTPBearer Header Info License Link MediaType OAuth2 OAuthFlow "
    "OAuthFlowAuthorizationCode OAuthFlowClientCredentials OAuthFlowImplicit OAuthFlowPassword "
    "OAuthFlows OpenAPI OpenIdConnect Operation Parameter ParameterBase ParameterInType PathItem "
    "Reference RequestBody Response Schema SchemaOrBool SecurityBase SecurityScheme "
    "SecuritySchemeType Server ServerVariable Tag XML",
    "dependencies.models": "Dependant",
    "dependencies.utils": "get_dependant solve_dependencies request_params_to_args "
    "request_body_to_args get_typed_signature",
    "requests": "Request HTTPConnection",
    "websockets": "WebSocket WebSocketDisconnect WebSocketState",
    "staticfiles": "StaticFiles",
    "templating": "Jinja2Templates",
    "testclient": "TestClient",
    "background": "BackgroundTasks",
    "concurrency": "run_in_threadpool iterate_in_threadpool run_until_first_complete "
    "contextmanager_in_threadpool asynccontextmanager",
    "utils": "generate_unique_id",
    "types": "DecoratedCallable IncEx",
    "logger": "logger",
    "cli": "main",
    "telemetry": "TelemetryConfig TelemetryData get_telemetry_data",
}
"""The names of each module below ``fastapi``."""

_ROUTER = (
    "prefix tags dependencies default_response_class responses callbacks deprecated "
    "include_in_schema generate_unique_id_function"
)
_OPERATION = (
    "path response_model status_code tags dependencies summary description response_description "
    "responses deprecated operation_id response_model_include response_model_exclude "
    "response_model_by_alias response_model_exclude_unset response_model_exclude_defaults "
    "response_model_exclude_none include_in_schema response_class name callbacks openapi_extra "
    "generate_unique_id_function"
)
_FIELD = (
    "default default_factory alias alias_priority validation_alias serialization_alias title "
    "description gt ge lt le min_length max_length pattern regex discriminator strict "
    "validate_default union_mode fail_fast multiple_of allow_inf_nan max_digits decimal_places "
    "examples example openapi_examples deprecated include_in_schema json_schema_extra"
)

PARAMETERS: dict[str, str] = {
    "FastAPI": "debug routes title summary description version openapi_url openapi_tags servers "
    "dependencies default_response_class redirect_slashes docs_url redoc_url "
    "swagger_ui_oauth2_redirect_url swagger_ui_init_oauth middleware exception_handlers on_startup "
    "on_shutdown lifespan terms_of_service contact license_info root_path root_path_in_servers "
    "responses callbacks webhooks deprecated include_in_schema swagger_ui_parameters "
    "generate_unique_id_function separate_input_output_schemas openapi_external_docs "
    "strict_content_type telemetry extra",
    "APIRouter": f"{_ROUTER} routes redirect_slashes default dependency_overrides_provider "
    "route_class on_startup on_shutdown lifespan strict_content_type",
    "FastAPI.include_router": f"router {_ROUTER}",
    "APIRouter.include_router": f"router {_ROUTER}",
    **{
        f"{owner}.{method}": _OPERATION
        for owner in ("FastAPI", "APIRouter")
        for method in ("get", "put", "post", "delete", "options", "head", "patch", "trace")
    },
    **{f"{owner}.api_route": f"{_OPERATION} methods" for owner in ("FastAPI", "APIRouter")},
    **{
        f"{owner}.add_api_route": f"{_OPERATION} endpoint methods"
        for owner in ("FastAPI", "APIRouter")
    },
    **{f"{owner}.websocket": "path name dependencies" for owner in ("FastAPI", "APIRouter")},
    **{
        f"{owner}.add_api_websocket_route": "path endpoint name dependencies"
        for owner in ("FastAPI", "APIRouter")
    },
    **{
        f"{owner}.frontend": "path directory fallback check_dir"
        for owner in ("FastAPI", "APIRouter")
    },
    "FastAPI.mount": "path app name",
    "FastAPI.middleware": "middleware_type",
    "FastAPI.add_middleware": "middleware_class",
    "FastAPI.exception_handler": "exc_class_or_status_code",
    "FastAPI.on_event": "event_type",
    "FastAPI.openapi": "",
    "FastAPI.setup": "",
    "FastAPI.build_middleware_stack": "",
    "Path": _FIELD,
    "Query": _FIELD,
    "Cookie": _FIELD,
    "Header": f"{_FIELD} convert_underscores",
    "Body": f"{_FIELD} embed media_type",
    "Form": f"{_FIELD} media_type",
    "File": f"{_FIELD} media_type",
    "Depends": "dependency use_cache scope max_concurrency",
    "Security": "dependency scopes use_cache",
    "HTTPException": "status_code detail headers",
    "WebSocketException": "code reason",
    "BackgroundTasks.add_task": "func args kwargs",
    "encoders.jsonable_encoder": "obj include exclude by_alias exclude_unset exclude_defaults "
    "exclude_none custom_encoder sqlalchemy_safe",
    "sse.format_sse_event": "data_str event id retry comment",
    "openapi.utils.get_openapi": "title version openapi_version summary description routes "
    "webhooks tags servers terms_of_service contact license_info separate_input_output_schemas "
    "external_docs",
    "openapi.docs.get_swagger_ui_html": "openapi_url title swagger_js_url swagger_css_url "
    "swagger_favicon_url oauth2_redirect_url init_oauth swagger_ui_parameters",
    "openapi.docs.get_redoc_html": "openapi_url title redoc_js_url redoc_favicon_url "
    "with_google_fonts",
    "security.OAuth2PasswordBearer": "tokenUrl scheme_name scopes description auto_error "
    "refreshUrl",
    "security.OAuth2AuthorizationCodeBearer": "authorizationUrl tokenUrl refreshUrl scheme_name "
    "scopes description auto_error",
    "security.OAuth2PasswordRequestForm": "grant_type username password scope client_id "
    "client_secret",
    "security.OpenIdConnect": "openIdConnectUrl scheme_name description auto_error",
    "security.HTTPBasic": "scheme_name realm description auto_error",
    "security.HTTPBearer": "bearerFormat scheme_name description auto_error",
    "security.HTTPDigest": "scheme_name description auto_error",
    **{
        f"security.{name}": "name scheme_name description auto_error"
        for name in ("APIKeyCookie", "APIKeyHeader", "APIKeyQuery")
    },
}
"""The parameters of each callable, by its path below ``fastapi``."""
