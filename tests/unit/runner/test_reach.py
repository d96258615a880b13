"""Which code may be called again in the same process: the question is asked of its text, nothing is run."""

import importlib
from collections import deque
from decimal import Context

import pytest

from uhlp.runner.reach import PURE_MODULES, stays_inside

ORDINARY = {
    "rules": "import re\nWORD = re.compile('a+')\ndef handle(i, c):\n    m = WORD.search(i['t'])\n    return m[0]\n",
    "class": "class A:\n    def __init__(self, n):\n        self.n = n\n    def up(self):\n        self.n += 1\n",
    "class counter": "class A:\n    n = 0\ndef handle(i, c):\n    A.n += 1\n    type(A())\n    return A.__name__\n",
    "dataclass": "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    n: int = 0\n",
    "cache": "from functools import lru_cache\n@lru_cache\ndef f(n): return n\ndef handle(i, c): return f(1)\n",
    "globals": "seen = []\ndef handle(i, c):\n    global last\n    last = i\n    seen.append(i)\n    del seen[0]\n",
    "own precision": "from decimal import Context, Decimal\nEXACT = Context(prec=50)\ndef handle(i, c): return 1\n",
    "own object": "class A:\n    n = 0\ndef handle(i, c):\n    a = A()\n    a.n = 1\n    a.n += 1\n    return a.n\n",
    "own private": "class A:\n    def __init__(self):\n        self._n = 1\n    def up(self): return self._n\n",
    "classes as such": "import json\nfrom typing import Any\nisinstance({}, Any)\nBad = json.JSONDecodeError\n",
    "constants": "from datetime import UTC, datetime\nimport re\nnow = datetime.now(UTC)\np = re.compile('a', re.I)\n",
    "underscore": "def handle(i, c):\n    first, *_ = i['l']\n    return [first for _ in range(3)]\n",
    "tuple": "from collections import namedtuple\nP = namedtuple('P', 'a b')\nP(1, 2)._replace(a=2)\n",
    "errors": "from uhlp_runtime import Deoptimize\ndef handle(i, c): raise Deoptimize('no')\n",
    "super": "class A(dict):\n    def __init__(self):\n        super().__init__()\n",
    "compiled": "import re\ndef handle(i, c): return bool(re.compile('a').match('a'))\n",
    "dates": "from datetime import date\ndef handle(i, c): return date.today().replace(day=1).isoformat()\n",
    "match": "def handle(i, c):\n    match i:\n        case {'kind': 'a', **rest}: return rest\n",
}

REACHING = {
    "foreign module": "import os\n",
    "module below": "import urllib.request\n",
    "from foreign module": "from threading import Thread\n",
    "import in a function": "def handle(i, c):\n    import ctypes\n",
    "random": "import random\n",
    "locale": "import locale\n",
    "logging": "import logging\n",
    "relative": "from . import worker\n",
    "star": "from math import *\n",
    "eval": "def handle(i, c): return eval(i['x'])\n",
    "alias of a builtin": "f = exec\n",
    "file": "def handle(i, c): return open('x').read()\n",
    "file by io": "import io\ndef handle(i, c): return io.open('x')\n",
    "member that is a file": "from io import open as f\n",
    "getattr": "def handle(i, c): return getattr(c, 'x')\n",
    "globals": "def handle(i, c): return globals()\n",
    "builtins": "def handle(i, c): return __builtins__\n",
    "import function": "def handle(i, c): return __import__('os')\n",
    "patched module": "import json\njson.dumps = str\n",
    "patched in part": "import json\njson.decoder.FLAGS += 1\n",
    "removed": "import json\ndel json.dumps\n",
    "patched class": "from datetime import tzinfo\ndef handle(i, c): tzinfo.x = 1\n",
    "loop that patches": "import json\nfor json.dumps in [str]: pass\n",
    "item of a module's table": "from html.entities import html5\nhtml5['x'] = 'y'\n",
    "module in a module": "import json\njson.codecs.register(str)\n",
    "member that is a module": "from dataclasses import sys\n",
    "private member": "import re\nre._cache.clear()\n",
    "precision": "import decimal\ndecimal.getcontext().prec = 3\n",
    "precision of all": "from decimal import DefaultContext\nDefaultContext.prec = 3\n",
    "dialect": "import csv\ncsv.register_dialect('x')\n",
    "finaliser": "class A:\n    def __del__(self): print('later')\n",
    "frames": "def handle(i, c):\n    try: 1 / 0\n    except Exception as e: return e.__traceback__.tb_frame\n",
    "frame of a generator": "def handle(i, c): return (n for n in c).gi_frame\n",
    "subclasses": "def handle(i, c): return ().__class__.__base__.__subclasses__()\n",
    "globals of a function": "from statistics import mean\nmean.__globals__['x'] = 1\n",
    "runner": "import uhlp_runner\n",
    "runtime patched": "import uhlp_runtime\nuhlp_runtime.call_tool = print\n",
    "runtime's inside": "import uhlp_runtime\nuhlp_runtime._calls.append(print)\n",
    "class of an object": "import json\ndef handle(i, c): json.JSONEncoder().__class__.stash = 1\n",
    "type of an object": "import json\ndef handle(i, c): type(json.JSONEncoder()).stash = 1\n",
    "class under another name": "import json\nk = json.JSONEncoder\nk.stash = 1\n",
    "class as a self": "import json\nclass A:\n    def f(self): self.n = 1\nself = json.JSONEncoder\nself.n = 1\n",
    "module under another name": "import uhlp_runtime\nr = uhlp_runtime\nr._calls.insert(0, 1)\n",
    "modules in a list": "import collections\nfor m in (collections,): m.stash = 1\n",
    "module as an argument": "import json\ndef f(m): return m\nf(json)\n",
    "module of a package": "from collections import abc\nx = abc\n",
    "precision under another name": "import decimal\nd = decimal\nd.getcontext().prec = 3\n",
    "precision of a function": "from decimal import getcontext as g\ng().prec = 3\n",
    "local precision": "import decimal\ndef handle(i, c):\n    with decimal.localcontext() as x:\n        x.prec = 9\n",
    "table": "from html.entities import html5\nhtml5.update(a='b')\n",
    "table by a newer Python's name for it": "from html import parser\nx = parser.html5_entities\n",
    "table of a module": "import keyword\nkeyword.kwlist.append('x')\n",
    "attribute by its name": "import operator\nf = operator.attrgetter('__class__')\n",
    "attribute by a pattern": "def handle(i, c):\n    match i:\n        case object(__class__=k): return k\n",
    "abstract class": "from numbers import Number\nclass A: pass\nNumber.register(A)\n",
    "private of a stranger": "def handle(i, c): return c._hidden\n",
    "too deep to be read": "x = " + "-" * 20_000 + "1\n",
}


@pytest.mark.parametrize("source", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_code_stays_inside(source: str) -> None:
    assert stays_inside(source)


@pytest.mark.parametrize("source", REACHING.values(), ids=REACHING)
def test_code_that_may_leave_something_behind_does_not(source: str) -> None:
    assert not stays_inside(source)


@pytest.mark.parametrize("module", sorted(PURE_MODULES - {"uhlp_runtime"}))
def test_no_module_shows_anything_that_can_be_filled(module: str) -> None:
    tables = [
        name
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, list | dict | set | bytearray | deque | Context) and not name.startswith("_")
    ]
    assert [name for name in tables if stays_inside(f"import {module}\n{module}.{name}\n")] == []
