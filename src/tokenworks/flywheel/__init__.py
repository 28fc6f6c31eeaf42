"""The loop: corrections become a better model, by evidence."""
