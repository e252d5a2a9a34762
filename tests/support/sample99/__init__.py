"""A lab for the tests, number 99: an exercise of every kind, its checks, its mistakes."""
