"""The demo: what `retune demo` trains on and asks, and how it tells what it sees."""
