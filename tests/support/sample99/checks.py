"""Probes of the sample lab."""

import numpy as np

from aisys.course import Case, probe

from . import exercises
from .exercises import Box


@probe(
    "99.1 scale",
    cases=[
        Case("three numbers", {"size": 3}, seed=1),
        Case("a factor of its own", {"size": 2, "factor": 0.5}, seed=2),
    ],
    seconds=0.2,
)
def scale_values(case, rng):
    x = rng.standard_normal(case["size"])
    return {"y": exercises.scale(x, case["factor"]) if "factor" in case else exercises.scale(x)}


@probe("99.1 shift", cases=[Case("zero", {"x": 0.0})], seconds=0.2)
def shift_values(case, rng):
    return exercises.shift(case["x"])


@probe("99.2 Box.total", cases=[Case("two items", {"items": [1, 2]})])
def box_total(case, rng):
    return Box(case["items"]).total()


@probe("99.2 Box.__add__", cases=[Case("two boxes")])
def box_sum(case, rng):
    return (Box([1]) + Box([2])).items


@probe("99.2 Box.unit", cases=[Case("the unit")])
def box_unit(case, rng):
    return Box.unit().items


@probe("99.2 Box.size", cases=[Case("two items")])
def box_size(case, rng):
    return Box([3, 4]).size


@probe("99.4 pipeline", cases=[Case("two numbers", {"xs": [1.0, 2.0]})], seconds=0.2)
def pipeline_values(case, rng):
    return np.array(exercises.pipeline(case["xs"]))
