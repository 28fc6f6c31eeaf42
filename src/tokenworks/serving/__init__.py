"""A release to tokens: engine processes, who starts and watches them, and how they are reached."""
