"""The gateway's own OpenAPI description, made from the types that parse and from the routes that are served."""
