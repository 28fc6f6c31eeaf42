"""Ways to spend more computation on one answer, a file each, found by name; see `serving/thinking/contract.py`."""
