"""The OpenAPI document of an app: its model, how it is made, the pages that show it."""
