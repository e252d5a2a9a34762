"""Lab 1: a small deep-learning framework, from convolution to gradients.

Read in this order: `convolution` (1.3); `operations`, `graph`, `execution`, `conditional` and
`drawing` (1.4); `gradients` and `numerical` (1.5); `checks` holds the probes.
"""
