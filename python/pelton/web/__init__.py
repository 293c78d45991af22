"""The web framework: FastAPI's surface, on Starlette's types and Pydantic 2."""
