"""One file per format; the file name is the reader's name."""
