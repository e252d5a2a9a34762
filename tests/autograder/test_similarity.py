"""Near-copies are found, and what is alike by nature is not."""

import functools
import random
import re

import pytest

from autograder.attempt_texts import sources_of
from autograder.similarity import ENOUGH, LONG, Match, Similarity, Source, find_similar, groups
from autograder.tokens import tokens
from autograder.winnowing import RUN, WINDOW, fingerprints, run_hashes
from tests.autograder.sample_course import LAB

SKELETON = '''@attempt("9.1")
def shortest(graph: dict[str, dict[str, float]], start: str) -> dict[str, float]:
    """The length of the shortest path from `start` to every node that it reaches.

    Args:
        graph: The lengths of the edges by their ends.
        start: Where paths begin.
    """
    # YOUR CODE HERE
    raise NotImplementedError("9.1 shortest is not written")
'''
HEAD = SKELETON[: SKELETON.index("    # YOUR")]
DIJKSTRA = (
    HEAD
    + '''    # the nodes whose distance is final
    done = set()
    distance = {start: 0.0}
    waiting = [(0.0, start)]
    while waiting:
        length, node = heapq.heappop(waiting)
        if node in done:
            continue
        done.add(node)
        for neighbour, edge in graph[node].items():
            through = length + edge
            if through < distance.get(neighbour, 1e9):
                distance[neighbour] = through
                heapq.heappush(waiting, (through, neighbour))
    return distance


def path_to(previous: dict[str, str], goal: str) -> list[str]:
    """The nodes on the way."""
    path = [goal]
    while path[-1] in previous:
        path.append(previous[path[-1]])
    assert path, "a path has a node"
    return path[::-1]
'''
)
BELLMAN_FORD = (
    HEAD
    + """    best = dict.fromkeys(graph, float("inf"))
    best[start] = 0
    for _ in range(len(graph) - 1):
        changed = False
        for a in graph:
            for b, w in graph[a].items():
                if best[a] + w < best[b]:
                    best[b] = best[a] + w
                    changed = True
        if not changed:
            break
    return {name: value for name, value in best.items() if value != float("inf")}
"""
)


def renamed(text: str) -> str:
    names = {
        "done": "s",
        "distance": "d",
        "waiting": "q",
        "length": "l",
        "node": "v",
        "neighbour": "u",
        "edge": "w",
        "through": "t",
        "path_to": "walk",
        "previous": "p",
    }
    for old, new in names.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def reordered(text: str) -> str:
    """The second function before the first."""
    first, second = text.split("\n\n\ndef ")
    return f"def {second}\n\n{first}\n"


def recommented(text: str) -> str:
    text = re.sub(r"\n +# the nodes.*", "", text).replace("The nodes on the way.", "Backwards.")
    return re.sub(r"\n( +)(while|for|if)", r"\n\1# go on\n\n\1\2", text)


def with_other_literals(text: str) -> str:
    return text.replace("1e9", "999_999").replace("0.0", "0").replace('"a path', 'f"Every path')


def compare(now: dict[str, str], earlier: dict[str, str] | None = None) -> Similarity:
    """The findings where everybody has one attempt at `"9.1"`."""
    then = {name: {"9.1": text} for name, text in (earlier or {}).items()}
    attempts = {name: {"9.1": text} for name, text in now.items()}
    return find_similar(attempts, {"9.1": Source(SKELETON)}, then)


def names(matches: tuple[Match, ...]) -> set[tuple[str, str]]:
    return {(match.student, match.other) for match in matches}


@functools.cache
def solutions() -> dict[str, Source]:
    return sources_of(LAB)


def whole_lab(*, different: bool = False) -> dict[str, str]:
    """Our solutions of every exercise, or the alternatives."""
    if different:
        return {
            name: "\n".join(source.alternatives.values()) for name, source in solutions().items()
        }
    return {name: source.reference for name, source in solutions().items()}


@pytest.mark.parametrize(
    "disguise", [str, renamed, reordered, recommented, with_other_literals,
                 lambda text: reordered(renamed(with_other_literals(recommented(text))))],
    ids=["none", "renamed", "reordered", "comments", "literals", "all"],
)  # fmt: skip
def test_a_copy_is_found_through_its_disguise(disguise) -> None:  # type: ignore[no-untyped-def]
    copy = disguise(DIJKSTRA)
    assert disguise is str or copy != DIJKSTRA
    found = compare({"ada": DIJKSTRA, "bob": copy, "cyd": BELLMAN_FORD})
    assert names(found.pairs) == {("ada", "bob")}
    (alike,) = found.pairs[0].exercises
    assert alike.exercise == "9.1" and alike.share > 0.6


def test_two_ways_to_the_same_answer_are_no_copies() -> None:
    assert compare({"ada": DIJKSTRA, "bob": BELLMAN_FORD}).pairs == ()


def test_the_skeleton_makes_nobody_a_copier() -> None:
    short = HEAD + "    return {start: 0.0}\n"
    found = compare({"ada": SKELETON, "bob": SKELETON, "cyd": short, "dan": short})
    assert found == Similarity()
    assert len(fingerprints(SKELETON, run_hashes(SKELETON))) == 0


def test_a_copy_with_a_syntax_error_is_found() -> None:
    broken = renamed(DIJKSTRA).replace("continue", "continue ((")
    assert names(compare({"ada": DIJKSTRA, "bob": broken}).pairs) == {("ada", "bob")}


def test_a_long_text_that_many_have_makes_one_group() -> None:
    class_ = {f"s{i:02}": renamed(DIJKSTRA) if i % 2 else DIJKSTRA for i in range(30)}
    (group,) = groups(compare({**class_, "zoe": BELLMAN_FORD}).pairs)
    assert group.students == tuple(class_)


def test_a_short_text_that_many_have_accuses_nobody() -> None:
    short = HEAD + (
        "    near = {n: float(len(n)) for n in graph if n != start and graph[n]}\n"
        "    far = sorted(near.items(), key=lambda item: item[1])\n"
        "    return dict(far[:3]) if far and start in graph else {start: near[start] + 1}\n"
    )
    assert ENOUGH < len(fingerprints(short, run_hashes(SKELETON))) < LONG
    assert compare({"ada": short, "bob": short}).pairs, "two alone are named for it"
    assert compare({f"s{i}": short for i in range(20)}).pairs == ()


def test_copies_of_several_short_exercises_add_up() -> None:
    bodies = [f"    return sum(x.{a} * x.{b} for x in data) / len(data)\n"
              for a, b in ("ab", "cd", "ef", "gh", "ij", "kl")]  # fmt: skip
    texts = {f"9.{i}": f"def f(data):\n{body}" for i, body in enumerate(bodies)}
    one = {"ada": {"9.0": texts["9.0"]}, "bob": {"9.0": texts["9.0"]}}
    assert find_similar(one, {}).pairs == ()
    (match,) = find_similar({"ada": texts, "bob": texts}, {}).pairs
    assert len(match.exercises) == len(texts)


def test_an_earlier_years_text_is_reported_apart() -> None:
    found = compare({"ada": BELLMAN_FORD, "bob": renamed(DIJKSTRA)}, {"old": DIJKSTRA})
    assert names(found.earlier) == {("bob", "old")}
    assert found.pairs == ()


def test_nobody_is_accused_of_the_earlier_years_copies() -> None:
    found = compare({"ada": BELLMAN_FORD}, {"old": DIJKSTRA, "older": renamed(DIJKSTRA)})
    assert found == Similarity(compared_with_earlier=2)


def test_the_references_and_the_alternatives_are_told_apart() -> None:
    own, other = whole_lab(), whole_lab(different=True)
    found = find_similar({"ada": own, "alan": other}, solutions())
    assert [match.student for match in found.reference] == ["ada"]
    assert [match.student for match in found.alternatives] == ["alan"]
    assert all(alike.share == 1 for alike in found.reference[0].exercises)
    assert all(alike.title for alike in found.alternatives[0].exercises)
    assert found.pairs == ()


def test_the_alternatives_are_not_close_to_the_references() -> None:
    """Written independently, so the nearest thing to honest solutions that there is."""
    other = whole_lab(different=True)
    without = {
        name: Source(source.skeleton, source.reference, language=source.language)
        for name, source in solutions().items()
    }
    found = find_similar({"alan": other}, without)
    assert found.reference == ()
    assert find_similar({"ada": whole_lab(), "alan": other}, {}).pairs == ()


def test_catalogued_mistakes_are_no_copies_of_each_other() -> None:
    """Each is an edit of the reference, so all of them are alike by nature."""
    wrong = whole_lab()
    for name, source in solutions().items():
        if source.mistakes:
            wrong[name] = source.mistakes[-1]
    assert find_similar({"ada": wrong, "bob": wrong}, solutions()).pairs == ()


def test_two_who_write_as_the_references_do_are_no_pair() -> None:
    assert find_similar({"ada": whole_lab(), "bob": whole_lab()}, solutions()).pairs == ()


def test_a_real_attempt_of_the_lab_is_found_when_renamed() -> None:
    """Lab 1's alternatives stand for a student's own work, and the catalogue lacks them."""
    own = whole_lab(different=True)
    copy = {name: re.sub(r"\b(node|x|result|index)\b", r"my_\1", own[name]) for name in own}
    without = {
        name: Source(source.skeleton, source.reference, language=source.language)
        for name, source in solutions().items()
    }
    found = find_similar({"ada": own, "bob": copy, "cyd": whole_lab()}, without)
    assert names(found.pairs) == {("ada", "bob")}


def written_by(seed: int) -> str:
    """A text of some lines that many have and some that nobody else has, in an order of its own."""
    draw = random.Random(seed)
    word = "".join(draw.choices("abcdefgh", k=6))
    common = [
        f"    x.{a} = y.{b}[z.{c}] + z.{b} * y.{a}" for a in "pqr" for b in "stu" for c in "vw"
    ]
    own = [f"    x.{word} = y.{a}[z.{word}] - z.{b} / y.{a}" for a in "ij" for b in "klmn"]
    return "def f(x, y, z):\n" + "\n".join(draw.sample(common, 9) + draw.sample(own, 5))


def test_a_thousand_students_are_compared_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are fingerprinted once each, and compared in matrices, never pair by pair."""
    from autograder import similarity

    calls = {"fingerprints": 0}
    real = similarity.fingerprints

    def counted(*arguments):  # type: ignore[no-untyped-def]
        calls["fingerprints"] += 1
        return real(*arguments)

    monkeypatch.setattr(similarity, "fingerprints", counted)
    attempts = {
        f"s{i:04}": {f"9.{e}": written_by(3 * i + e) for e in range(3)} for i in range(1000)
    }
    copies = {name: text.replace("x.", "result.") for name, text in attempts["s0500"].items()}
    found = find_similar({**attempts, "s0999": copies}, {})
    assert names(found.pairs) == {("s0500", "s0999")}
    assert calls["fingerprints"] <= 3 * (1000 + 1)


@pytest.mark.parametrize("text", ["", "\x00", '"""', "'" * 3001, "\\" * 1000, "é" * 50, "(" * 5000])
def test_no_text_is_too_broken_for_tokens(text: str) -> None:
    assert len(tokens(text)) <= len(text)
    for language in ("cuda", "yaml"):
        assert len(tokens(text, language)) <= len(text)


def test_names_and_literals_do_not_matter_and_attributes_do() -> None:
    def same(one: str, other: str, language: str = "python") -> bool:
        return tokens(one, language).tolist() == tokens(other, language).tolist()

    assert same("a = b + 1  # sum", "total = part + 0x2\n")
    assert same("f('x')", 'g("""long""")')
    assert not same("np.einsum(a)", "np.matmul(a)")
    assert not same("if a: b", "while a: b")
    assert same("x[i] = 1.f; /* a */", "y[j] = 2; // b", "cuda")
    assert not same("image: python", "image: debian", "yaml")


def test_a_long_run_in_common_is_always_a_common_fingerprint() -> None:
    """The guarantee of winnowing: RUN + WINDOW - 1 tokens in a row."""
    run = "a.b + c.d - e.f * g.h / i.j % k.l".replace(" ", "")
    assert len(tokens(run)) >= RUN + WINDOW - 1
    one = fingerprints(f"x = y.z; {run}; q = 3 ** r.s", run_hashes(""))
    other = fingerprints(f"[p.o for t in u]; {run}; return v.w", run_hashes(""))
    assert set(one.tolist()) & set(other.tolist())
