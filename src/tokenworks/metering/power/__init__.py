"""One file for each kind of meter: `open_source(settings, calibration) -> Source`, found by its name."""
