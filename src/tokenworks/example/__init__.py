"""What the factory learns from when nobody gave it documents: the Python standard library, which every machine has."""
