"""One file for each kernel operation: what is asked, what is kept alive, how the answer is read."""
