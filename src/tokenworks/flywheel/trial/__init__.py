"""The trial: live traffic decides between incumbent and candidate. How, with the formulas: docs/trial.md."""
