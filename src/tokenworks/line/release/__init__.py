"""A model folder to a signed, registered, released version."""
