"""One study a file: what is measured, and the page in docs/benchmarks/ that is made of it."""
