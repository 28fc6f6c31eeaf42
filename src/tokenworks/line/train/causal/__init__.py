"""The parts of pretraining a causal model, from tokenizer to Hugging Face folder."""
