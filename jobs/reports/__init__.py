"""Base against tuned model after every job: which examples, what both answer, how far apart they are."""
