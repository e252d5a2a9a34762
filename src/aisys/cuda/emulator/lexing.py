"""A kernel's source taken apart: what it may hold, its kernels, and its shared memory.

The source is hostile until shown otherwise, and it is compiled for the CPU. So whatever could
reach around the emulator is refused here, by name and line; what is left is checked again after
compiling.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aisys.course.errors import TextError

INCLUDES = {"cooperative_groups.h", "cuda_fp16.h", "cuda_runtime.h", "math.h", "stdint.h"}
FORBIDDEN = {
    "asm", "__asm", "__asm__", "__attribute__", "__attribute", "__declspec", "_Pragma", "goto",
    "typeid", "dynamic_cast", "throw", "try", "virtual", "thread_local", "__extension__",
    "__managed__", "__start_cuda_constant", "__stop_cuda_constant",
}  # fmt: skip
PREFIXES = (
    "__builtin",
    "__tsan",
    "__sanitizer",
    "__asan",
    "emu_",
    "emulator",
    "EMULATOR",
    "__sync_",
    "__atomic",
)
_TOKEN = re.compile(
    r"""(?P<directive>(?<![^\n])[ \t]*\#(?:\\\n|[^\n])*)
    |(?P<space>\n|[^\S\n]+)
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>\.?\d(?:[eEpP][+-]|[\w.'])*)
    |(?P<mark><<<|>>>|::|->|\+\+|--|<<|>>|[-+*/%&|^<>=!]=|&&|\|\||[^\s\w])""",
    re.VERBOSE | re.DOTALL,
)


class SourceError(TextError):
    """The source holds what the emulator does not run; the message names the line."""


@dataclass(frozen=True)
class Token:
    """One word of the source, with its place in the text and its line."""

    kind: str
    text: str
    begin: int
    line: int

    @property
    def end(self) -> int:
        """Where the text goes on after it."""
        return self.begin + len(self.text)


@dataclass(frozen=True)
class KernelSource:
    """A `__global__` function.

    Attributes:
        name: Its name.
        parameters: Its parameters' names.
        types: Their types, a word or mark apart by spaces, as in `"const float * __restrict__"`.
        is_template: Whether it is one.
        line: Where it begins.
    """

    name: str
    parameters: tuple[str, ...]
    types: tuple[str, ...]
    is_template: bool
    line: int


@dataclass(frozen=True)
class Source:
    """A source that may be compiled: rewritten for the emulator line by line, and its kernels."""

    text: str
    rewritten: str
    kernels: dict[str, KernelSource]


def read_source(text: str) -> Source:
    """Take a kernel's source apart.

    Raises:
        SourceError: It holds something that the emulator does not run, or no kernel.
    """
    tokens = list(_tokens(text))
    _refuse(tokens)
    _refuse_open(tokens)
    kernels = {kernel.name: kernel for kernel in _kernels(tokens)}
    if not kernels:
        raise SourceError(
            "The source has no kernel: expected a function that begins with `__global__ void`."
        )
    return Source(text, _rewritten(text, tokens), kernels)


def _tokens(text: str) -> Iterator[Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise SourceError(f"Line {line}: {text[place]!r} does not belong into a program.")
        kind = str(match.lastgroup)
        if kind not in ("space", "comment"):
            lead = len(match[0]) - len(match[0].lstrip()) if kind == "directive" else 0
            yield Token(kind, match[0][lead:], place + lead, line)
        line += match[0].count("\n")
        place = match.end()


def _refuse_open(tokens: list[Token]) -> None:
    """Refuse a bracket that is not closed: the compiler would name the end of the text."""
    ends = {"(": ")", "[": "]", "{": "}"}
    opened: list[Token] = []
    for token in tokens:
        if token.kind != "mark":
            continue
        if token.text in ends:
            opened.append(token)
        elif token.text in ends.values():
            if not opened or ends[opened[-1].text] != token.text:
                where = f"; `{opened[-1].text}` of line {opened[-1].line} is open" if opened else ""
                raise SourceError(f"Line {token.line}: `{token.text}` closes nothing{where}.")
            opened.pop()
    if opened:
        raise SourceError(f"Line {opened[-1].line}: `{opened[-1].text}` is not closed.")


def _refuse(tokens: list[Token]) -> None:
    for i, token in enumerate(tokens):
        following = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if token.kind == "directive":
            _refuse_directive(token)
        elif token.kind == "name":
            allowed_extern = token.text == "extern" and following in ("__shared__", '"C"')
            if (
                token.text in FORBIDDEN
                or token.text.startswith(PREFIXES)
                or (token.text == "extern" and not allowed_extern)
            ):
                raise SourceError(
                    f"Line {token.line}: `{token.text}` is not available in the emulator."
                )
        elif token.text == "[" and following == "[":
            raise SourceError(
                f"Line {token.line}: attributes, `[[...]]`, are not available in the emulator."
            )
        elif token.text in ("\\", "#", "@", "`", "$"):
            raise SourceError(f"Line {token.line}: {token.text!r} does not belong here.")
        elif token.text in ("<", "%") and following == ":" and tokens[i + 1].begin == token.end:
            raise SourceError(f"Line {token.line}: digraphs are not available in the emulator.")
        elif token.text == "<<<":
            raise SourceError(
                f"Line {token.line}: a kernel is launched from Python, "
                "as in kernel[grid, block](...)."
            )


def _refuse_directive(token: Token) -> None:
    text = re.sub(r"\s+", " ", token.text.replace("\\\n", " ")).strip()
    word = re.match(r"# ?(\w*)", text)
    name = word[1] if word else ""
    if re.search(r"\S\\\n", token.text) or "##" in text or "%:" in text:
        raise SourceError(f"Line {token.line}: a macro may not glue words together.")
    if name == "include":
        file = re.fullmatch(r'# ?include ?[<"]([\w./]+)[>"]', text)
        if file and file[1] in INCLUDES:
            return
        raise SourceError(
            f"Line {token.line}: of headers the emulator knows {', '.join(sorted(INCLUDES))}."
        )
    if name == "pragma":
        if re.match(r"# ?pragma unroll\b", text):
            return
        raise SourceError(f"Line {token.line}: of pragmas the emulator knows `#pragma unroll`.")
    if name not in ("define", "undef", "if", "ifdef", "ifndef", "else", "elif", "endif", "error"):
        raise SourceError(f"Line {token.line}: `#{name}` is not available in the emulator.")
    for inner in re.findall(r"[A-Za-z_]\w*", text):
        if inner in FORBIDDEN | {"extern", "__shared__"} or inner.startswith(PREFIXES):
            raise SourceError(f"Line {token.line}: `{inner}` may not stand in a macro.")


def _kernels(tokens: list[Token]) -> Iterator[KernelSource]:
    for i, token in enumerate(tokens):
        if token.text != "__global__":
            continue
        at = i + 1
        while at < len(tokens) and tokens[at].text != "(":
            if tokens[at].text == "__launch_bounds__":
                at = _closing(tokens, at + 1)
            at += 1
        if at >= len(tokens) or tokens[at - 1].kind != "name":
            raise SourceError(f"Line {token.line}: expected `__global__ void NAME(...)`.")
        start = i
        while (
            start > 0
            and tokens[start - 1].text not in (";", "}")
            and tokens[start - 1].kind != "directive"
        ):
            start -= 1
        is_template = tokens[start].text == "template"
        end = _closing(tokens, at)
        if end + 1 < len(tokens) and tokens[end + 1].text == ";":
            continue  # a declaration
        found = list(_parameters(tokens[at + 1 : end]))
        names, types = tuple(name for name, _ in found), tuple(kind for _, kind in found)
        yield KernelSource(tokens[at - 1].text, names, types, is_template, token.line)


def _parameters(tokens: list[Token]) -> Iterator[tuple[str, str]]:
    """The name and the type of each parameter."""
    words: list[str] = []
    depth, name = 0, -1
    for token in [*tokens, Token("mark", ",", 0, 0)]:
        depth += (token.text in "(<[{") - (token.text in ")>]}") if len(token.text) == 1 else 0
        if token.text == "," and depth == 0:
            if name >= 0:
                yield words[name], " ".join(words[:name] + words[name + 1 :])
            words, name = [], -1
            continue
        words.append(token.text)
        if token.kind == "name" and depth == 0:
            name = len(words) - 1


def _closing(tokens: list[Token], opening: int) -> int:
    pairs = {"(": ")", "[": "]", "{": "}"}
    ends, depth = pairs[tokens[opening].text], 0
    for i in range(opening, len(tokens)):
        depth += (tokens[i].text == tokens[opening].text) - (tokens[i].text == ends)
        if depth == 0:
            return i
    raise SourceError(f"Line {tokens[opening].line}: `{tokens[opening].text}` is not closed.")


def _rewritten(text: str, tokens: list[Token]) -> str:
    """The source with shared memory as references into the emulator's, and no line moved."""
    edits: list[tuple[int, int, str]] = []
    depth = number = 0
    for i, token in enumerate(tokens):
        depth += (token.text == "{") - (token.text == "}")
        if token.kind == "directive" and re.match(r"#\s*(include|pragma)", token.text):
            edits.append((token.begin, token.end, "\n" * token.text.count("\n")))
        if token.text == "extern" and tokens[i + 1].text == '"C"':
            edits.append((token.begin, tokens[i + 1].end, ""))
        if token.text == "__shared__":
            if depth == 0:
                raise SourceError(
                    f"Line {token.line}: declare shared memory inside the kernel that uses it."
                )
            number += 1
            edits.append(_shared(text, tokens, i, number))
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    return text


def _shared(text: str, tokens: list[Token], i: int, number: int) -> tuple[int, int, str]:
    """The declaration of shared memory at token i, rewritten."""
    begin, at = tokens[i].begin, i + 1
    while i > 0 and tokens[i - 1].text in ("extern", "static"):
        i -= 1
        begin = tokens[i].begin
    is_dynamic = tokens[i].text == "extern"
    kind: list[str] = []
    while at < len(tokens) and not (tokens[at].kind == "name" and tokens[at + 1].text in "[,;="):
        if tokens[at].text in ("alignas", "__align__"):
            at = _closing(tokens, at + 1)
        else:
            kind.append(tokens[at].text)
        at += 1
    end = at
    while end < len(tokens) and tokens[end].text != ";":
        end += 1
    if end == len(tokens) or not kind:
        raise SourceError(f"Line {tokens[i].line}: expected `__shared__ TYPE NAME[SIZE];`.")
    type_name = " ".join(kind)
    made: list[str] = []
    while at < end:
        name, at = tokens[at].text, at + 1
        first = at
        while at < end and tokens[at].text == "[":
            at = _closing(tokens, at) + 1
        sizes = text[tokens[first].begin : tokens[at].begin] if at > first else ""
        if at < end and tokens[at].text != ",":
            raise SourceError(
                f"Line {tokens[at].line}: shared memory has no first value; write it in the kernel."
            )
        at += 1
        number_here = number * 100 + len(made)
        size = f"sizeof({type_name}{sizes}), alignof({type_name})"
        memory = (
            f'emu_shared(__PRETTY_FUNCTION__, {number_here}, {size}, "{name}", sizeof({type_name}))'
        )
        if is_dynamic:
            made.append(f"*{name} = ({type_name} *)emu_dynamic_shared()")
        elif sizes:
            made.append(f"(&{name}){sizes} = *({type_name} (*){sizes}){memory}")
        else:
            made.append(f"&{name} = *({type_name} *){memory}")
    old = text[begin : tokens[end].begin]
    new = f"{type_name} {', '.join(made)}"
    return begin, tokens[end].begin, new + "\n" * (old.count("\n") - new.count("\n"))
