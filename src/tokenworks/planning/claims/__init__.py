"""A vendor's figures, held against what one's own workload sees: read, judged, explained, written down."""
