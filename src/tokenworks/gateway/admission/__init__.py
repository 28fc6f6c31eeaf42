"""Whose turn it is when engines are full: priorities, fair shares, deadlines, and honest refusals."""
