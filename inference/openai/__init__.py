"""The OpenAI-compatible surface: a lean ASGI application, its parameters and bounds. No Django middleware, no DRF."""
