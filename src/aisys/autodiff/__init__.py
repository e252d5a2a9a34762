"""Lab 1: a training run seen from the system, and a small deep-learning framework.

Read in this order: `lenet_torch`, `training_log`, `training`, `profiling`, `operator_mix`,
`debugging`, `stacks` with `stuck`, and `system_calls` with `data_loader` (1.1); `roofline`,
`measuring`, `prefetch` and `input_pipeline` (1.2); `convolution` (1.3); `operations`, `graph`,
`execution`, `conditional` and `drawing` (1.4); `gradients` and `numerical` (1.5);
`convolution_gradient`, `max_pooling` and `cross_entropy` (1.6); `passes`, `folding`,
`common_subexpressions`, `dead_code`, `simplify`, `fusion`, `traffic` and `compiler` (1.7); `sgd`,
`lenet` and `tracing` (1.8). `checks` holds the probes, `recorded` the recorded runs.
"""
