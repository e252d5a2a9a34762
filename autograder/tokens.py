"""Programs as sequences of tokens in which names and literals no longer differ.

One pattern reads Python, C and C++, YAML and Containerfiles alike. It never fails: a text that no
parser would take still has tokens, so nobody hides a copy behind a syntax error.
"""

import builtins
import functools
import keyword
import re
import zlib

import numpy as np

MOST_CHARACTERS = 100_000
"""A longer text is read up to here."""

_STRING = (
    r'(?:\b[rRbBfFuU]{1,2})?(?:"""(?:[^\\]|\\.)*?(?:"""|\Z)|' + r"'''(?:[^\\]|\\.)*?(?:'''|\Z)|"
    r'"(?:[^"\\\n]|\\.)*"?|' + r"'(?:[^'\\\n]|\\.)*'?)"
)
_REST = (
    r"|(?:\.|->|::)\s*[^\W\d]\w*"  # an attribute, with what leads to it
    r"|[^\W\d]\w*"
    r"|\.?\d[\w.]*"
    r"|[-+*/%@&|^<>=!:]=|\*\*|//|<<|>>|&&|\|\||\+\+|--|->|::"
    r"|[^\s\w]"
)
_COMMENTS = {"#": r"#[^\n]*", "//": r"//[^\n]*|/\*.*?(?:\*/|\Z)"}
_WORDS = {
    "#": frozenset(keyword.kwlist) | frozenset(n for n in dir(builtins) if n[0] != "_") | {"self"},
    "//": frozenset(
        "alignas auto bool break case catch char class const constexpr continue default delete do "
        "double else enum extern float for if inline int long namespace new operator private "
        "public return short signed sizeof static struct switch template this throw try typedef "
        "typename union unsigned using virtual void volatile while __global__ __device__ "
        "__host__ __shared__ __syncthreads threadIdx blockIdx blockDim gridDim atomicAdd".split()
    ),
}
NAMED_FREELY = ("python", "cpp", "c", "cuda")
"""The languages in which whoever writes chooses the names; in the others a word is the content."""


def tokens(text: str, language: str = "python") -> np.ndarray:
    """The tokens of a program as numbers, comments and layout left out.

    Every string is the same token, and every number. So is every name but keywords, Python's
    builtins, and what follows a dot: nobody can rename `np.einsum`'s second half.

    Args:
        text: The program, whole or broken.
        language: Its language; in YAML and the like names stay what they are.

    Returns:
        `[tokens]`, `uint32`, the same in every process.
    """
    family = "//" if language in ("cpp", "c", "cuda") else "#"
    found = _pattern(family).findall(text[:MOST_CHARACTERS])
    numbers = _codes(family, language in NAMED_FREELY)
    return np.fromiter(map(numbers.__getitem__, found), np.uint32, len(found))[_real(found)]


def _real(found: list[str]) -> list[bool]:
    """Which of the tokens that were found are none: comments are found as empty texts."""
    return [bool(token) for token in found]


@functools.cache
def _pattern(family: str) -> re.Pattern[str]:
    """A pattern with one group, which stays empty for a comment."""
    return re.compile(f"{_COMMENTS[family]}|({_STRING}{_REST})", re.DOTALL)


class _Codes(dict[str, int]):
    """The number of each token, worked out when it is first seen."""

    def __init__(self, family: str, named_freely: bool) -> None:
        super().__init__()
        self._family, self._named_freely = family, named_freely

    def __missing__(self, token: str) -> int:
        code = zlib.crc32(self._normal(token).encode())
        if len(token) < 40 and len(self) < 100_000:
            self[token] = code
        return code

    def _normal(self, token: str) -> str:
        if token[-1:] in "\"'" or re.match(r"[rRbBfFuU]{0,2}[\"']", token):
            return '""' if self._named_freely else " ".join(token.strip("\"'").split())
        if token[0].isdigit() or re.match(r"\.\d", token):
            return "0" if self._named_freely else token
        if token[0].isalpha() or token[0] == "_":
            known = not self._named_freely or token in _WORDS[self._family]
            return token if known else "name"
        return "".join(token.split())


@functools.cache
def _codes(family: str, named_freely: bool) -> _Codes:
    return _Codes(family, named_freely)
