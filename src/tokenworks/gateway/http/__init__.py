"""HTTP/1.1 on a socket: bytes to requests, answers to bytes. Knows nothing of models, keys or OpenAI."""
