"""Benches: what the product costs, each beside a baseline that is measured in the same run. See docs/benchmarks.md."""
