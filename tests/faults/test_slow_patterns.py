"""Regular expressions that are known to hang: each is answered in time, with little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.counts import report

pytestmark = pytest.mark.slow

SECONDS = 10  # of the processor: many times the budget, and no hang
MEMORY = 512 << 20

# The expression, and the name that it takes for ever to refuse.
A, B = "a" * 60 + "!", "ab" * 40 + "!"
SINGLE = r"""
(a+)+ (a*)* (a|aa)+ (a|a)* (a|a?)+ (a+)*b ([a-z]+)* (aa?)*b (a?){60}a{60} (.*a){12} (.*a){25}b (\w*)*b
(\w+\w+)+b ((a+)+)+b (a+a+)+b .*.*.*.*b (x+x+)+y (([a-z])+.)+[A-Z]([a-z])+ (?:a+){3,}b (a{1,9}){1,9}b (a*?)*?b
(?=(a+)+b)a (?!(a+)+b)a+c (?<=(a|aa)+)b (?>a+)+b a*a*a*a*a*a*b (a|b|ab)*c ((((a{100}){100}){100}){100})
a{999999999} (a{1000}){1000} ((a{30}){30}){30}
"""
DOUBLE = "(ab|a|b)*c (ab|ba|a|b)+c (?:a|b|ab)*?c ([ab]+)*c ((ab)*)*c (a?b?)*c [ab]*[ab]*c"
PATTERNS = [
    *((expression, A) for expression in SINGLE.split()),
    *((expression, B) for expression in DOUBLE.split()),
    ("(" * 200 + "a" + ")" * 200, A),
    ("(" * 30 + "a*" + ")*" * 30 + "b", A),
    ("[a-z]" * 80 + "(a|aa)+b", A),
    ("(([a-zA-Z0-9])+([-.]?[a-zA-Z0-9]+)*)+!!", "a" * 50 + "!"),
    ("(\\d+)*x", "1" * 60 + "!"),
    ("a" * 513, A),
    ("(?i:(K|\u212a)+)x", "k" * 60),
]

# Each mapping in a process that is forked for it, so that Python starts once; then how it went.
ANSWERS = """
import json, os, resource, sys
import mapcc
from mapcc import api
def told(text, keys):
    try:
        return api.check(api.parse(text), keys).diagnostics
    except mapcc.MappingError as error:
        return error.diagnostics

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
for line in sys.stdin:
    text, keys = json.loads(line)
    child = os.fork()
    if not child:
        code = 70
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
        try:
            faults = told(text, keys)
            codes = {fault.code for fault in faults}
            code = 2 if "MC412" in codes else 1 if "MC106" in codes else 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def test_every_pattern_is_answered_in_time(tmp_path: Path) -> None:
    asked = []
    for number, (expression, name) in enumerate(PATTERNS):
        keys = tmp_path / f"{number}.json"
        keys.write_text(json.dumps({f"x.{name}": [1], "b": [1]}), "utf-8")
        asked.append(json.dumps([f"b -> b\nx.{{t:/{expression}/}} -> y.{{t}}", str(keys)]))
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS, str(MEMORY), str(SECONDS)],
        input="\n".join(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    wrong = [(PATTERNS[at][0], answer) for at, answer in enumerate(answers) if answer not in (0, 1, 2)]
    assert not wrong, done.stderr[-2000:]
    counts = {"patterns": len(answers), "refused": answers.count(1), "slow": answers.count(2)}
    report({"patterns": 40, "refused": 5, "slow": 1}, **counts)


def test_many_names_have_one_budget(tmp_path: Path) -> None:
    """Not one limit for each: very many names that are slow, none of them too slow."""
    keys = tmp_path / "k.json"
    keys.write_text(json.dumps({f"x.{'a' * 17}{number}!": [1] for number in range(20_000)}), "utf-8")
    text = "x.{t:/(a|aa)+b?/} -> y.{t}\n"
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS, str(2 * MEMORY), str(SECONDS)],
        input=json.dumps([text, str(keys)]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == 2, done.stderr
    report({"names": 20_000}, names=20_000)
