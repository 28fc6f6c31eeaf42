"""The nouns that travel between rooms. This floor knows no other."""
