"""What a model has to beat, computed in the same run on the same items."""
