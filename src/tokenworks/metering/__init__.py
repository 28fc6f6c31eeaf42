"""What work takes of the machines: energy from meters, and whose it was. Knows no engine, key or price."""
