"""The documentation pages: Swagger UI, its OAuth2 redirect, and ReDoc."""

import json
from typing import Any

from starlette.responses import HTMLResponse

from ..encoders import jsonable_encoder

swagger_ui_default_parameters: dict[str, Any] = {
    "dom_id": "#swagger-ui",
    "layout": "BaseLayout",
    "deepLinking": True,
    "showExtensions": True,
    "showCommonExtensions": True,
}
"""The parameters of Swagger UI where the app does not set its own."""

_CDN = "https://cdn.jsdelivr.net/npm"
_FAVICON = "https://fastapi.tiangolo.com/img/favicon.png"


def _script_json(value: Any) -> str:
    """`value` as JSON that cannot end the script element it stands in."""
    text = json.dumps(jsonable_encoder(value))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def get_swagger_ui_html(
    *,
    openapi_url: str,
    title: str,
    swagger_js_url: str = f"{_CDN}/swagger-ui-dist@5/swagger-ui-bundle.js",
    swagger_css_url: str = f"{_CDN}/swagger-ui-dist@5/swagger-ui.css",
    swagger_favicon_url: str = _FAVICON,
    oauth2_redirect_url: str | None = None,
    init_oauth: dict[str, Any] | None = None,
    swagger_ui_parameters: dict[str, Any] | None = None,
) -> HTMLResponse:
    """The page of Swagger UI for the document at `openapi_url`.

    `swagger_ui_parameters` are added to the default ones; `init_oauth` is given to its
    ``initOAuth``. The texts are put into the page as they are: they must not come from users.
    """
    parameters = {**swagger_ui_default_parameters, **(swagger_ui_parameters or {})}
    settings = [f"url: '{openapi_url}',"]
    settings += [
        f"{_script_json(key)}: {_script_json(value)}," for key, value in parameters.items()
    ]
    if oauth2_redirect_url:
        settings.append(f"oauth2RedirectUrl: window.location.origin + '{oauth2_redirect_url}',")
    settings.append("presets: [")
    settings.append("    SwaggerUIBundle.presets.apis,")
    settings.append("    SwaggerUIBundle.SwaggerUIStandalonePreset")
    settings.append("],")
    oauth = f"ui.initOAuth({_script_json(init_oauth)})" if init_oauth else ""
    lines = "\n        ".join(settings)
    return HTMLResponse(
        f"""<!DOCTYPE html>
<html>
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1.0">
    <title>{title}</title>
    <link type="text/css" rel="stylesheet" href="{swagger_css_url}">
    <link rel="shortcut icon" href="{swagger_favicon_url}">
</head>
<body>
    <div id="swagger-ui"></div>
    <script src="{swagger_js_url}"></script>
    <script>
    const ui = SwaggerUIBundle({{
        {lines}
    }})
    {oauth}
    </script>
</body>
</html>
"""
    )


def get_redoc_html(
    *,
    openapi_url: str,
    title: str,
    redoc_js_url: str = f"{_CDN}/redoc@2/bundles/redoc.standalone.js",
    redoc_favicon_url: str = _FAVICON,
    with_google_fonts: bool = True,
) -> HTMLResponse:
    """The page of ReDoc for the document at `openapi_url`.

    The texts are put into the page as they are: they must not come from users.
    """
    families = "Montserrat:300,400,700|Roboto:300,400,700"
    fonts = (
        f'<link href="https://fonts.googleapis.com/css?family={families}" rel="stylesheet">'
        if with_google_fonts
        else ""
    )
    return HTMLResponse(
        f"""<!DOCTYPE html>
<html>
<head>
    <meta charset="utf-8"/>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{title}</title>
    {fonts}
    <link rel="shortcut icon" href="{redoc_favicon_url}">
    <style>
        body {{ margin: 0; padding: 0; }}
    </style>
</head>
<body>
    <noscript>
        ReDoc requires Javascript to function. Please enable it to browse the documentation.
    </noscript>
    <redoc spec-url="{openapi_url}"></redoc>
    <script src="{redoc_js_url}"> </script>
</body>
</html>
"""
    )


def get_swagger_ui_oauth2_redirect_html() -> HTMLResponse:
    """The page that an authorization server sends the user back to.

    It hands what the server said to the Swagger UI that opened it, and closes itself.
    """
    return HTMLResponse(_REDIRECT_PAGE)


_REDIRECT_PAGE = """<!doctype html>
<html lang="en-US">
<head>
    <meta charset="utf-8">
    <title>Swagger UI: OAuth2 Redirect</title>
</head>
<body>
<script>
"use strict";
(function () {
    const CODE_FLOWS = ["accessCode", "authorizationCode", "authorization_code"];

    function answer() {
        // The implicit flow answers behind the hash, the code flow in the query.
        const inHash = /code|token|error/.test(window.location.hash);
        const text = inHash
            ? window.location.hash.substring(1).replace("?", "&")
            : window.location.search.substring(1);
        return Object.fromEntries(new URLSearchParams(text));
    }

    function describe(given) {
        if (!given.error) {
            return "[Authorization failed]: no accessCode received from the server.";
        }
        const what = given.error_description || "no accessCode received from the server";
        const more = given.error_uri ? "More info: " + given.error_uri : "";
        return "[" + given.error + "]: " + what + ". " + more;
    }

    function run() {
        const oauth2 = window.opener.swaggerUIRedirectOauth2;
        const redirectUrl = oauth2.redirectUrl;
        const given = answer();
        const isValid = given.state === oauth2.state;
        const fail = (level, message) =>
            oauth2.errCb({ authId: oauth2.auth.name, source: "auth", level, message });

        if (CODE_FLOWS.includes(oauth2.auth.schema.get("flow")) && !oauth2.auth.code) {
            if (!isValid) {
                fail("warning", "Authorization may be unsafe: the server returned another state.");
            }
            if (given.code) {
                delete oauth2.state;
                oauth2.auth.code = given.code;
                oauth2.callback({ auth: oauth2.auth, redirectUrl: redirectUrl });
            } else {
                fail("error", describe(given));
            }
        } else {
            oauth2.callback({ auth: oauth2.auth, token: given, isValid, redirectUrl });
        }
        window.close();
    }

    if (document.readyState !== "loading") {
        run();
    } else {
        document.addEventListener("DOMContentLoaded", run);
    }
})();
</script>
</body>
</html>
"""
