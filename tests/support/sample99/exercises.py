"""Functions, methods and a text."""

from aisys.course import exercise, text_exercise


@exercise("99.1", points=2)
def scale(x, factor=2.0):
    """`x` times `factor`."""
    return x * factor


@exercise("99.1", points=1)
def shift(x, *, by=1.0):
    """`x` plus `by`."""
    return x + by


class Box:
    """A few numbers."""

    def __init__(self, items):
        self.items = list(items)

    @exercise("99.2", points=1)
    def total(self):
        """The sum of the items."""
        return sum(self.items)

    @exercise("99.2", points=1)
    def __add__(self, other):
        """A box with the items of both."""
        return Box(self.items + other.items)

    @staticmethod
    @exercise("99.2", points=1)
    def unit():
        """A box with one 1."""
        return Box([1])

    @property
    @exercise("99.2", points=1)
    def size(self):
        """How many items there are."""
        return len(self.items)

    @exercise("99.6", points=1)
    def largest(self):
        """The largest item."""
        return max(self.items)

    def describe(self):
        return f"a box of {self.total()}"


class Crate(Box):
    """A box whose exercise needs its base class."""

    @exercise("99.6", points=1)
    def total(self):
        """The sum of the items, and one for the crate."""
        return super().total() + 1


@exercise("99.4", points=2)
def pipeline(xs):
    """Every number shifted by one, then doubled."""
    return [scale(shift(x)) for x in xs]


kernel = text_exercise("99.5", "kernel", "kernel.cu", points=1, language="cuda")
