"""The stages in order, each from inputs to products. They meet in the store, never in code."""
