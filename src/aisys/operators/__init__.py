"""Lab 2: an operator of one's own, forward and backward, in Python and in C++.

Read in this order: `arguments` (what is refused, and how), `linear` and `gelu` (the two halves of
an operator), `numerical` (gradients by differences), `stability` (right to all digits),
`straight_through` and `quantised` (a gradient where there is none); `sliding_windows` and
`convolution` (2.4); `memory`, `linear_gelu`, `in_place` and `loss_scaling` (2.5); `citizenship`
(2.6); `cpp` (2.7); `placement` (2.8).
"""
