"""Spending more on one answer: samples, votes, verifiers, and a purse that is never overdrawn. Knows no HTTP."""
