"""Lab 1: a small deep-learning framework, from convolution to gradients.

Read in this order: `convolution` (1.3); `operations`, `graph`, `execution`, `conditional` and
`drawing` (1.4); `gradients` and `numerical` (1.5); `convolution_gradient`, `max_pooling` and
`cross_entropy` (1.6); `passes`, `folding`, `common_subexpressions`, `dead_code`, `simplify`,
`fusion`, `traffic` and `compiler` (1.7); `sgd`, `lenet` and `tracing` (1.8); `checks` holds the
probes.
"""
