"""What happens to every request, a file each; the order is in `stack.py`."""
