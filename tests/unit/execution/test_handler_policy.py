"""The static look at a handler: what it lets through, and what it says about the rest."""

import pytest

from uhlp.execution import check_handler

GOOD = '''
"""A handler."""
from __future__ import annotations
import json
import re
import os.path
from collections import Counter
from datetime import datetime
from uhlp_runtime import Deoptimize, call_tool

MISSING = "__missing__"
PATTERN = re.compile(r"(\\d+)")


class Line:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Line({self.text})"


def handle(inputs: dict, context: dict) -> dict:
    input = inputs.get("text", MISSING)
    if not PATTERN.search(input):
        raise Deoptimize("no number")
    return {"words": dict(Counter(input.split())), "line": repr(Line(input)), "sep": os.path.sep}
'''

HANDLE = "def handle(inputs, context):\n    return 1\n"


def test_an_honest_handler_passes() -> None:
    assert check_handler(GOOD) == []


@pytest.mark.parametrize(
    "lines",
    [
        "import time\nx = time.time", "import copy\nx = copy.copy",
        "import datetime\nx = datetime.datetime, datetime.time",
        "from datetime import datetime, time", "import collections.abc\nx = collections.abc", "from copy import copy",
        "import urllib.parse\nx = urllib.parse.quote", "from pprint import pprint",
        "from uhlp_runtime import Deoptimize",
        "x = getattr(int, 'real', None)", "x = 'see the class and dict of it'", "from array import array",
        "from collections import namedtuple\nx = namedtuple('P', 'a')(1)._replace(a=2)", "import html\nx = html.escape",
    ],
)  # fmt: skip
def test_ordinary_ways_to_use_modules_pass(lines: str) -> None:
    assert check_handler(f"{lines}\n{HANDLE}") == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os\n" + HANDLE.replace("1", "os.system('ls')"), "os.system"),
        ("import os\n" + HANDLE.replace("1", "os.environ"), "os.environ"),
        ("from os import system\n" + HANDLE, "os.system"),
        ("import subprocess\n" + HANDLE, "subprocess"),
        ("import socket\n" + HANDLE, "socket"),
        ("import urllib.request\n" + HANDLE, "urllib.request"),
        ("from urllib import request\n" + HANDLE, "urllib.request"),
        ("from http.client import HTTPConnection\n" + HANDLE, "http.client"),
        ("import ctypes\n" + HANDLE, "ctypes"),
        ("import importlib\n" + HANDLE, "importlib"),
        ("import threading\n" + HANDLE, "threading"),
        ("import sys\n" + HANDLE.replace("1", "sys.modules['os']"), "sys.modules"),
        ("import numpy\n" + HANDLE, "only the standard library"),
        ("import statistics\n" + HANDLE.replace("1", "statistics.sys"), "statistics.sys is another module"),
        ("from json import codecs\n" + HANDLE, "json.codecs is another module"),
        ("import collections as c\n" + HANDLE.replace("1", "c._sys"), "collections._sys is private"),
        ("from enum import _decompose\n" + HANDLE, "enum._decompose is private"),
        (HANDLE.replace("1", "getattr(inputs, context['x'])"), "getattr needs a name that is written out"),
        (HANDLE.replace("1", "'{0.__class__}'.format(inputs)"), "'__class__'"),
        (HANDLE.replace("1", "getattr(inputs, '__cl' + 'ass__')"), "'__class__'"),
        ("import operator\n" + HANDLE.replace("1", "operator.attrgetter('a.__dict__')"), "'__dict__'"),
        ("def handle(i, c):\n    match i:\n        case object(__class__=x): return x\n", "__class__"),
        ("from . import secrets\n" + HANDLE, "relative"),
        (HANDLE.replace("1", "eval('1')"), "eval"),
        (HANDLE.replace("1", "open('/etc/passwd').read()"), "open"),
        (HANDLE.replace("1", "__import__('os')"), "__import__"),
        (HANDLE.replace("1", "().__class__.__bases__[0].__subclasses__()"), "__subclasses__"),
        (HANDLE.replace("1", "getattr(inputs, '__class__')"), "__class__"),
        (HANDLE.replace("1", "__builtins__"), "__builtins__"),
        (HANDLE.replace("1", "handle.__globals__"), "__globals__"),
        ("x = 1", "no function handle(inputs, context)"),
        ("class A:\n    def handle(self, inputs, context): ...", "no function handle"),
        ("async def handle(inputs, context): ...", "async"),
        ("def handle(inputs): ...", "(inputs, context)"),
        ("def handle(inputs, context, more): ...", "(inputs, context)"),
        ("def handle(inputs, context, *, more): ...", "(inputs, context)"),
        ("def handle(:", "does not parse"),
        ("x = '\x00'", "does not parse"),
        ("(" * 5000, "does not parse"),
        ("# " + "x" * 300_000, "bytes"),
    ],
)
def test_what_will_not_do_is_said_in_words(code: str, words: str) -> None:
    assert words in "\n".join(check_handler(code))


@pytest.mark.parametrize(
    "code",
    ["def handle(inputs, context, more=1): ...", "def handle(*args): ...", "def handle(inputs, /, context): ..."],
)
def test_other_signatures_that_can_be_called_pass(code: str) -> None:
    assert check_handler(code) == []


def test_packages_that_the_application_names_are_allowed() -> None:
    assert check_handler("import numpy.linalg\n" + HANDLE, packages=["numpy"]) == []


def test_problems_carry_lines_and_are_bounded() -> None:
    assert check_handler(HANDLE + "import socket\n") == [
        "line 3: import of socket is not allowed: a handler computes, it does not reach outside"
    ]
    assert len(check_handler(HANDLE + "import socket\n" * 100)) <= 20


def test_another_function_may_be_the_entry() -> None:
    assert check_handler("def parse(inputs, context): ...", function="parse") == []
