"""Gradients by finite differences: slow, approximate, and independent of every formula."""

from collections.abc import Callable, Sequence

import numpy as np


def numerical_gradients(
    function: Callable[..., float], arrays: Sequence[np.ndarray], step: float = 1e-6
) -> list[np.ndarray]:
    """The gradients of a number with respect to arrays, by central differences.

    Args:
        function: Takes the arrays and returns a number; it is called twice for each element.
        arrays: float64; they are not changed.
        step: h in (f(x + h) - f(x - h)) / 2h. The error is of order h**2 plus rounding / h.
    """
    copies = [np.array(each, dtype=np.float64) for each in arrays]
    results = []
    for array in copies:
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = function(*copies)
            array[index] = value - step
            below = function(*copies)
            array[index] = value
            gradient[index] = (above - below) / (2 * step)
        results.append(gradient)
    return results
