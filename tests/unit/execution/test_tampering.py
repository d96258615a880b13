"""Signs of tampering, and the honest code that shows none."""

import pytest

from uhlp.execution import check_handler, count_tests, signs_of_tampering

HANDLER = "def handle(inputs, context):\n    return None\n"
TESTS = "from handler import handle\n\n\ndef test_it():\n    assert handle({}, {}) is None\n"

HONEST_HANDLERS = [
    HANDLER,
    "import json, re, datetime\nfrom collections.abc import Mapping\n" + HANDLER,
    "class A:\n    def __init__(self):\n        self.__dict__.update(a=1)\n" + HANDLER,
    "def handle(inputs, context):\n    return {'eval': inputs['open'], 'exec': 'compile'}\n",
    "WORDS = 'import os and open the gc' + ' please'\n" + HANDLER,
    "def handle(inputs, context):\n    return f\"{inputs['a']}-{'x'}\"\n",
    "def handle(inputs, context):\n    try:\n        return int(inputs['a'])\n"
    "    except ValueError as e:\n        raise e from None\n",
    "def handle(i, c):\n    return getattr(i, 'stack', None)\n",
]
HONEST_TESTS = [
    TESTS,
    "import pytest, sys\nfrom handler import handle\n\n\n@pytest.fixture\ndef test_data():\n    return {}\n\n\n"
    "def test_it(test_data, monkeypatch):\n    monkeypatch.setattr('handler.datetime', None)\n    assert handle\n\n\n"
    "if __name__ == '__main__':\n    sys.exit(pytest.main())\n",
    "import handler\nfrom unittest.mock import patch\n\n\n@patch('handler.now')\n"
    "def test_it(now):\n    assert handler.handle\n",
    "from handler import handle as subject\n\n\nclass TestIt:\n    def setup_method(self):\n"
    "        self.handle = subject\n\n\n"
    "    def test_it(self):\n        assert self.handle({}, {}) is None\n",
    "this is no Python",
    "",
]


@pytest.mark.parametrize("code", HONEST_HANDLERS)
def test_honest_handlers_show_no_sign(code: str) -> None:
    assert signs_of_tampering(code, TESTS) == []


@pytest.mark.parametrize("tests", HONEST_TESTS)
def test_honest_tests_show_no_sign(tests: str) -> None:
    assert signs_of_tampering(HANDLER, tests) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = sys._current_frames()", "x = e.__traceback__.tb_frame", "x = g.gi_frame.f_back", "sys.settrace(None)",
        "from inspect import currentframe", "import _pytest.main", "from __main__ import x", "import gc",
        "x = handle.__globals__", "x = __builtins__", "x = f.__code__.co_consts", "x = '__subclasses__'",
        "x = '__glo' + 'bals__'", "x = ''.join(['ev', 'al'])", "x = f\"{'sub'}process\"", "x = '__tropmi__'[::-1]",
        "x = ''.join(('im', 'port', 'lib'))", "x = 'o' 's' + 'pen'[1:]; y = 'op' + 'en'",
    ],
)  # fmt: skip
def test_each_way_to_look_around_or_go_around_is_a_sign(line: str) -> None:
    assert [sign for sign in signs_of_tampering(f"{line}\n{HANDLER}", TESTS) if sign.startswith("the handler")]


@pytest.mark.parametrize(
    "tests",
    [
        "import handler\nhandler.handle = None\n", "import handler as h\nh.handle = None\n",
        "import handler as h\nsetattr(h, 'handle', None)\n", "import handler\ndel handler.handle\n",
        "def test_it(monkeypatch):\n    monkeypatch.setattr('handler.handle', None)\n",
        "import handler\ndef test_it(monkeypatch):\n    monkeypatch.setattr(handler, 'han' + 'dle', None)\n",
        "import handler, mock\ndef test_it():\n    with mock.patch.object(handler, 'handle'): pass\n",
        "import sys\nsys.modules['handler'] = None\n", "import sys\nsys.modules['handler'].handle = None\n",
        "from handler import handle as h\nh = None\n", "from handler import handle\nclass handle: pass\n",
        "import os\nos.kill(os.getpid(), 9)\n", "import pytest\npytest.exit('done', 0)\n",
        "pytest_plugins = ['x']\n", "def pytest_sessionfinish(session): pass\n",
        "open('conftest.py', 'w')\n", "def test_it(request):\n    request.config.pluginmanager.unregister(None)\n",
    ],
)  # fmt: skip
def test_each_way_to_fake_a_test_is_a_sign(tests: str) -> None:
    assert [sign for sign in signs_of_tampering(HANDLER, tests) if sign.startswith("the tests")]


def test_a_sign_says_where_and_is_told_once() -> None:
    assert signs_of_tampering("import gc\nimport gc\n", "") == [
        "the handler looks for who runs it by importing gc (line 1)",
        "the handler looks for who runs it by importing gc (line 2)",
    ]


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 5000 + ")" * 5000, "-" * 5000 + "1", "+".join(["'a'"] * 5000), "a" + ".b" * 5000, "a" + "(b)" * 5000,
        "a" + "[0]" * 5000,
        "not " * 5000 + "a", "lambda: " * 5000 + "1", "[" * 300 + "]" * 300, "f'{" * 200 + "x" + "}'" * 200,
        "''.join([" * 80 + "'a'" + "])" * 80, "'" + "a" * 90_000 + "'", "x = 1\n" * 15_000, "if x:\n" + " if y:\n" * 3,
        "1" * 90_000, "\n".join(" " * n + "if 1:" for n in range(99)) + "\n" + " " * 99 + "pass",
        "@x\n" * 9000 + "def f(): pass",
        "match x:\n case " + "[" * 5000, "a = " * 9000 + "1", "*" * 5000 + "a", "{" * 5000, "'\\N{" + "x" * 9000 + "}'",
    ],
)  # fmt: skip
def test_no_bomb_of_syntax_harms_whoever_looks_at_it(bomb: str) -> None:
    for source in (bomb, f"{bomb}\n{HANDLER}", f"x = {bomb}\n{HANDLER}"):
        assert isinstance(check_handler(source), list)
        assert isinstance(signs_of_tampering(source, source), list)
        assert count_tests(source) == 0


def test_tests_are_counted_by_name_where_pytest_must_find_them() -> None:
    tests = (
        "import pytest\n\n@pytest.fixture()\ndef test_data(): ...\n\ndef test_a(): ...\ndef test_a(): ...\n"
        "@pytest.mark.skip\ndef test_b(): ...\n\nclass TestMore:\n    def test_c(self): ...\n"
        "\nif False:\n    def test_d(): ...\n"
    )
    assert count_tests(tests) == 2
