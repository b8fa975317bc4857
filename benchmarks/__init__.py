"""How fast ai8xsim is, measured against the other ways to the same answer: `python -m benchmarks`."""
