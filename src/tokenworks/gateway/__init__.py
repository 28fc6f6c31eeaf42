"""One request from socket to answer."""
