"""Requests from the edge to an engine and back: OpenAI surface, gateway, queue, engine workers, chat."""
