"""What to run where, before it is bought: from shapes of models and machines to seconds, money, joules and advice."""
