"""OpenAI's platform shapes: files, fine-tuning jobs, evals. Knows the catalog's objects, not how models are made."""
