"""The graders that `benchmarks/grading.py` compares, and the classes that they grade."""
