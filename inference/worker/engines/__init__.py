"""The engines behind the port: vllm, openai (a server elsewhere), simulated."""
