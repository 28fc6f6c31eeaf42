"""Which destination answers: replicas of this site, servers elsewhere, and what happens when one fails."""
