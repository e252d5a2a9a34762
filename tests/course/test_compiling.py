"""C++ texts: compiled once, with limits, and with errors that speak of the student's own lines."""

import ctypes
from pathlib import Path

import pytest

from aisys.course import compiling
from aisys.course.compiling import CompileError, NoCompiler, compile_shared, find_compiler

ADD = 'extern "C" int add(int a, int b) { return a + b; }\n'
BOMB = """constexpr long f(long n) { return n < 2 ? n : f(n - 1) + f(n - 2); }
template <long n> struct A { static constexpr long value = f(90 + n % 2) + A<n + 1>::value; };
long x = A<0>::value;
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AISYS_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling, "_failed", {})
    return tmp_path / "compiled"


def test_a_text_becomes_a_library() -> None:
    built = compile_shared({"add.cpp": ADD})
    assert ctypes.CDLL(str(built.path)).add(2, 3) == 5


def test_an_unchanged_text_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_shared({"add.cpp": ADD})
    monkeypatch.setattr(compiling, "_run_limited", None)
    assert compile_shared({"add.cpp": ADD}) == first


@pytest.mark.parametrize("what", ["text", "included text", "option"])
def test_whatever_changes_gives_another_library_and_namespace(what: str) -> None:
    files = {"main.cpp": '#include "part.cpp"\n', "part.cpp": ADD}
    first = compile_shared(files)
    options = ("-DX",) if what == "option" else ()
    changed = {"text": "main.cpp", "included text": "part.cpp"}.get(what, "")
    files = {name: text + "\n" * (name == changed) for name, text in files.items()}
    second = compile_shared(files, options)
    assert second.path != first.path
    assert second.namespace != first.namespace


def test_the_namespace_is_a_macro_in_the_text() -> None:
    text = 'extern "C" const char* name() { return NAME(AISYS_NAMESPACE); }\n'
    built = compile_shared({"n.cpp": "#define TEXT(x) #x\n#define NAME(x) TEXT(x)\n" + text})
    function = ctypes.CDLL(str(built.path)).name
    function.restype = ctypes.c_char_p
    assert function().decode() == built.namespace


def test_an_error_names_the_line_and_quotes_it() -> None:
    with pytest.raises(CompileError) as raised:
        compile_shared({"add.cpp": "int x;\nint y = undeclared + 1;\n"})
    assert "add.cpp, line 2: 'undeclared' was not declared" in str(raised.value)
    assert raised.value.frames == ("add.cpp, line 2: int y = undeclared + 1;",)


def test_an_error_in_a_header_leads_to_the_line_that_caused_it() -> None:
    text = "#include <vector>\nstruct A { A(const A&) = delete; };\n\nstd::vector<A> v(2);\n"
    with pytest.raises(CompileError) as raised:
        compile_shared({"v.cpp": text})
    assert raised.value.frames[0].startswith("v.cpp, line ")
    assert "/usr" not in str(raised.value)


def test_an_error_in_an_included_text_names_that_text() -> None:
    with pytest.raises(CompileError, match="part.cpp, line 1"):
        compile_shared({"main.cpp": '#include "part.cpp"\n', "part.cpp": "int x = y;\n"})


def test_many_errors_are_told_in_a_few_words() -> None:
    text = "void f() {" + "\n".join(f"a{n} + 1;" for n in range(5000)) + "}\n"
    with pytest.raises(CompileError) as raised:
        compile_shared({"m.cpp": text})
    assert "more)" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_text_that_compiles_without_end_is_given_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CompileError, match="bomb.cpp"):
        compile_shared({"bomb.cpp": BOMB}, ("-fconstexpr-ops-limit=2000000000",), seconds=1)
    monkeypatch.setattr(compiling, "_run_limited", None)
    with pytest.raises(CompileError, match="bomb.cpp"):
        compile_shared({"bomb.cpp": BOMB}, ("-fconstexpr-ops-limit=2000000000",), seconds=1)


def test_an_unknown_symbol_is_named() -> None:
    text = 'void missing();\nextern "C" void f() { missing(); }\n'
    with pytest.raises(CompileError, match="undefined reference to `missing"):
        compile_shared({"u.cpp": text}, ("-Wl,--no-undefined",))


def test_only_the_last_results_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MOST_KEPT", 2)
    built = [compile_shared({"n.cpp": f"int x = {n};\n"}) for n in range(4)]
    assert built[-1].path.exists()
    assert len(list(folder.glob("*.so"))) == len(list(folder.glob("*.txt"))) == 2


def test_without_a_compiler_the_sentence_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_compiler.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    try:
        with pytest.raises(NoCompiler, match="apt install"):
            compile_shared({"add.cpp": ADD})
    finally:
        find_compiler.cache_clear()
