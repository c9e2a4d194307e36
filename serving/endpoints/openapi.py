"""The OpenAPI document of an endpoint and the page that shows it, with no script from anywhere else."""

from __future__ import annotations

from typing import Any

_NUMBER = {"type": "number", "minimum": 0, "maximum": 100}
_OPTIONS = {
    "min_confidence": {**_NUMBER, "description": "0–100; left out: each label's own threshold"},
    "max_results": {"type": "integer", "minimum": 0},
}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_BOX = {
    "type": ["object", "null"],
    "description": "ratios of the upright image; null for a label of the whole image",
    "properties": {side: {"type": "number"} for side in ("left", "top", "width", "height")},
}
_LABEL = {"type": "object", "properties": {"name": {"type": "string"}, "confidence": _NUMBER, "box": _BOX}}
_NOVELTY = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "classifiers: how unlike all training images the image is; 0: like them, towards 1: unlike them. "
    "Every confidence is multiplied by 1 - novelty",
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {part: {"type": "string"} for part in ("code", "message", "hint", "request_id")},
        }
    },
}
_ANSWER = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "image": {"type": "string"},
                    "labels": {"type": "array", "items": _LABEL},
                    "novelty": _NOVELTY,
                    "error": _ERROR["properties"]["error"],  # type: ignore[index]
                },
            },
        },
    },
}
_FAILURES = {
    "400": "an image or the body cannot be read",
    "413": "the body is too large",
    "415": "a content type that is not understood",
    "503": "too many requests in flight; try again after Retry-After seconds",
}


def document(ref: str, max_body_bytes: int) -> dict[str, Any]:
    """OpenAPI 3.1."""
    image = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"image": {"type": "array", "items": image}, **_OPTIONS}}
    encoded = {
        "type": "object",
        "properties": {"image": _BASE64, "images": {"type": "array", "items": _BASE64}, **_OPTIONS},
    }
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": encoded},
        "image/*": {"schema": image},
        "application/octet-stream": {"schema": image},
    }
    responses = {"200": {"description": "labels, best first", "content": {"application/json": {"schema": _ANSWER}}}}
    for status, description in _FAILURES.items():
        responses[status] = {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    predict = {
        "summary": "Labels of one or more images",
        "description": f"At most {max_body_bytes} bytes in one request.",
        "operationId": "predict",
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in _OPTIONS.items()
        ],
        "requestBody": {"required": True, "content": content},
        "responses": responses,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Tenshot endpoint of {ref}", "version": ref.rpartition("@")[2]},
        "paths": {"/predict": {"post": predict}, **_plain()},
    }


def _plain() -> dict[str, Any]:
    routes = {
        "/readyz": "200 once a first prediction was made",
        "/livez": "200 while the process lives",
        "/metrics": "Prometheus metrics",
    }
    return {
        path: {"get": {"summary": text, "responses": {"200": {"description": text}}}} for path, text in routes.items()
    }


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{ref} – Tenshot endpoint</title>
<link rel="stylesheet" href="static_content/swagger-ui.css"></head>
<body><div id="ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "docs.json", dom_id: "#ui", deepLinking: true});</script>
</body></html>
"""
