"""Find passages of documents: chunks, a hybrid index of text and vectors, and answers no higher than a clearance."""
