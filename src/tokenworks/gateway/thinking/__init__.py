"""Long thinking on the request path: what is asked for, the samples it comes to, and how the answer tells of them."""
