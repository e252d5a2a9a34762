"""`CostModel`: what messages cost in the alpha-beta model, as fitted to a measurement.

`ports.Link` is the same model as a property of a simulated link; this is what was found out about a
link, real or simulated, and what an algorithm is chosen by.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CostModel:
    """A message of n bytes takes alpha + n * beta (Hockney, 1994).

    Attributes:
        alpha: What every message costs, in seconds: the latency.
        beta: What every byte costs, in seconds; the bandwidth is 1 / beta.
    """

    alpha: float
    beta: float

    def seconds(self, steps: float, nbytes: float) -> float:
        """What an algorithm takes whose slowest rank waits for `steps` messages in turn.

        Args:
            steps: Messages on the critical path.
            nbytes: Bytes of all of them together, not of each.
        """
        return steps * self.alpha + nbytes * self.beta
