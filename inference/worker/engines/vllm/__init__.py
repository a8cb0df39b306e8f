"""vLLM behind the port: its `AsyncLLM` in-process, its own serving classes for templates, tools and chunks.

Import `engine.VllmEngine` from here on engine workers only; this package must stay cheap to import, because vLLM's
own processes load `forced` out of it.
"""
