"""Ways to make a model, one file each."""
