"""The same port on vLLM, for long runs on a GPU."""
