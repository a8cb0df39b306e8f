"""Adds `/v1` to the OpenAPI document: it is served without DRF, so nothing else describes it.

Parameters are written down here once; a test holds their names to those that `inference.openai.parameters`
accepts.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TAG = "inference (/v1)"
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object", "additionalProperties": True}
_IGNORED: Schema = {"description": "Accepted for compatibility; without effect."}


def _between(kind: Schema, low: float, high: float) -> Schema:
    return {**kind, "minimum": low, "maximum": high}


def _list_of(item: Schema, most: int) -> Schema:
    return {"type": "array", "items": item, "maxItems": most}


_TOKENS = _between(_INTEGER, 1, 1_000_000)
_MODEL: Schema = {**_TEXT, "description": "A public name: a model's, or an alias."}
SAMPLING: dict[str, Schema] = {
    "model": _MODEL,
    "max_tokens": _TOKENS,
    "temperature": _between(_NUMBER, 0, 2),
    "top_p": _between(_NUMBER, 0, 1),
    "top_k": _INTEGER,
    "min_p": _between(_NUMBER, 0, 1),
    "n": _between(_INTEGER, 1, 16),
    "stop": {"oneOf": [_TEXT, _list_of(_TEXT, 16)]},
    "stop_token_ids": _list_of(_INTEGER, 64),
    "bad_words": _list_of(_TEXT, 64),
    "seed": _INTEGER,
    "presence_penalty": _between(_NUMBER, -2, 2),
    "frequency_penalty": _between(_NUMBER, -2, 2),
    "repetition_penalty": _between(_NUMBER, 0, 2),
    "logit_bias": {"type": "object", "additionalProperties": _between(_NUMBER, -100, 100)},
    "min_tokens": _INTEGER,
    "ignore_eos": _FLAG,
    "skip_special_tokens": _FLAG,
    "include_stop_str_in_output": _FLAG,
    "structured_outputs": {**_OBJECT, "description": "Exactly one of json (a schema), choice, regex."},
    "response_format": {**_OBJECT, "description": "type: text, json_object or json_schema."},
    "stream": _FLAG,
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": _FLAG, "continuous_usage_stats": _FLAG},
    },
    "user": {**_TEXT, "description": "Who asks, as the client names them; kept with the usage."},
    **dict.fromkeys(
        (
            *("metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
            *("safety_identifier", "verbosity", "prediction"),
        ),
        _IGNORED,
    ),
}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {"oneOf": [_TEXT, _list_of(_OBJECT, 1_000)], "nullable": True},
        "name": _TEXT,
        "tool_calls": _list_of(_OBJECT, 128),
        "tool_call_id": _TEXT,
    },
}
CHAT: dict[str, Schema] = {
    **SAMPLING,
    "messages": {**_list_of(_MESSAGE, 2_000), "minItems": 1},
    "max_completion_tokens": _TOKENS,
    "logprobs": _FLAG,
    "top_logprobs": _between(_INTEGER, 0, 20),
    "tools": _list_of(_OBJECT, 128),
    "tool_choice": {"oneOf": [{"type": "string", "enum": ["none", "auto", "required"]}, _OBJECT]},
    "parallel_tool_calls": _FLAG,
    "reasoning_effort": {"type": "string", "enum": ["none", "minimal", "low", "medium", "high", "xhigh"]},
    "chat_template_kwargs": {
        "type": "object",
        "properties": {"enable_thinking": _FLAG, "thinking": _FLAG},
        "additionalProperties": False,
    },
    "modalities": _list_of({"type": "string", "enum": ["text"]}, 1),
}
_TEXTS_OR_IDS: Schema = {
    "oneOf": [
        _TEXT,
        {"type": "array", "items": {"oneOf": [_TEXT, _INTEGER, {"type": "array", "items": _INTEGER}]}},
    ]
}
COMPLETION: dict[str, Schema] = {
    **SAMPLING,
    "prompt": _TEXTS_OR_IDS,
    "logprobs": _between(_INTEGER, 0, 20),
    "echo": _FLAG,
    "best_of": _between(_INTEGER, 1, 1),
    "suffix": _IGNORED,
}
EMBEDDING: dict[str, Schema] = {
    "model": _MODEL,
    "input": _TEXTS_OR_IDS,
    "encoding_format": {"type": "string", "enum": ["float", "base64"]},
    "dimensions": _between(_INTEGER, 1, 65_536),
    "user": _TEXT,
}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {**_TEXT, "nullable": True},
                "code": {**_TEXT, "nullable": True},
            },
        }
    },
}
_MODEL_CARD: Schema = {
    "type": "object",
    "properties": {"id": _TEXT, "object": _TEXT, "created": _INTEGER, "owned_by": _TEXT},
}


def describe_data_plane(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: the document with the paths of `/v1`, which also stand below
    `/t/<tenant>/v1`.
    """
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas["OpenAIError"] = _ERROR
    schemas["OpenAIModel"] = _MODEL_CARD
    for name, properties, required in (
        ("ChatCompletionRequest", CHAT, ["model", "messages"]),
        ("CompletionRequest", COMPLETION, ["model", "prompt"]),
        ("EmbeddingRequest", EMBEDDING, ["model", "input"]),
    ):
        schemas[name] = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
    card = {"$ref": "#/components/schemas/OpenAIModel"}
    listed = {"type": "object", "properties": {"object": _TEXT, "data": {"type": "array", "items": card}}}
    result["paths"].update(
        {
            "/v1/chat/completions": {"post": _post("Chat", "ChatCompletionRequest", streams=True)},
            "/v1/completions": {"post": _post("Completion", "CompletionRequest", streams=True)},
            "/v1/embeddings": {"post": _post("Embeddings", "EmbeddingRequest", streams=False)},
            "/v1/models": {"get": _operation("List models", _json(listed))},
            "/v1/models/{id}": {
                "get": {
                    **_operation("One model", _json(card)),
                    "parameters": [{"in": "path", "name": "id", "required": True, "schema": _TEXT}],
                }
            },
        }
    )
    return result


def _post(summary: str, request: str, *, streams: bool) -> Schema:
    content = _json(_OBJECT)
    if streams:
        content["text/event-stream"] = {"schema": {**_TEXT, "description": "With `stream: true`."}}
    body = {"$ref": f"#/components/schemas/{request}"}
    return {**_operation(summary, content), "requestBody": {"required": True, "content": _json(body)}}


def _operation(summary: str, content: Schema) -> Schema:
    error = {"$ref": "#/components/schemas/OpenAIError"}
    return {
        "operationId": "v1_" + summary.lower().replace(" ", "_"),
        "summary": summary,
        "description": "As OpenAI's API of the same path; also below `/t/<tenant>/v1`.",
        "tags": [TAG],
        "security": [{"apiKey": []}],
        "responses": {
            "200": {"description": "", "content": content},
            "default": {"description": "Error in OpenAI's form", "content": _json(error)},
        },
    }


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
