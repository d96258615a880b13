"""Which code may be called again in the same process: the question is asked of its text, nothing is run."""

import pytest

from uhlp.runner.reach import stays_inside

ORDINARY = {
    "rules": "import re\nWORD = re.compile('a+')\ndef handle(i, c):\n    m = WORD.search(i['t'])\n    return m[0]\n",
    "class": "class A:\n    def __init__(self, n):\n        self.n = n\n    def up(self):\n        self.n += 1\n",
    "class counter": "class A:\n    n = 0\ndef handle(i, c):\n    A.n += 1\n    type(A())\n    return A.__name__\n",
    "dataclass": "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    n: int = 0\n",
    "cache": "from functools import lru_cache\n@lru_cache\ndef f(n): return n\ndef handle(i, c): return f(1)\n",
    "globals": "seen = []\ndef handle(i, c):\n    global last\n    last = i\n    seen.append(i)\n    del seen[0]\n",
    "own precision": "from decimal import Context, Decimal\nEXACT = Context(prec=50)\ndef handle(i, c): return 1\n",
    "local precision": "import decimal\ndef handle(i, c):\n    with decimal.localcontext() as x:\n        x.prec = 9\n",
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
    "too deep to be read": "x = " + "-" * 3000 + "1\n",
}


@pytest.mark.parametrize("source", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_code_stays_inside(source: str) -> None:
    assert stays_inside(source)


@pytest.mark.parametrize("source", REACHING.values(), ids=REACHING)
def test_code_that_may_leave_something_behind_does_not(source: str) -> None:
    assert not stays_inside(source)
