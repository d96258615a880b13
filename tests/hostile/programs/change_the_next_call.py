"""Change everything that a process holds, then look for it in the next call; answers with what is still there."""

import builtins
import decimal
import gc
import json
import locale
import os
import random
import sys
import threading
import warnings

kept = []


def handle(inputs, context):
    if inputs["call"] == 1:
        kept.append(1)
        builtins.kept = json.kept = sys.kept = 1
        sys.modules["kept"] = sys
        os.environ["KEPT"] = "1"
        os.chdir("/")
        os.umask(0o7)
        random.seed(7)
        decimal.getcontext().prec = 3
        locale.setlocale(locale.LC_ALL, "C")
        sys.setrecursionlimit(77)
        gc.disable()
        warnings.filters.clear()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        for path in ("kept", "/tmp/kept"):
            try:
                open(path, "w").close()
            except OSError:
                continue
        return []
    found = {
        "global": kept,
        "builtins": hasattr(builtins, "kept") or hasattr(json, "kept") or hasattr(sys, "kept"),
        "modules": "kept" in sys.modules,
        "environment": "KEPT" in os.environ,
        "folder": os.getcwd() == "/",
        "mask": os.umask(0o77) == 0o7,
        "random": random.random() == random.Random(7).random(),
        "decimal": decimal.getcontext().prec == 3,
        "recursion": sys.getrecursionlimit() == 77,
        "collector": not gc.isenabled(),
        "warnings": not warnings.filters,
        "threads": threading.active_count() > 1,
        "files": os.path.exists("/tmp/kept") or os.path.exists("kept"),
    }
    return [name for name, is_there in found.items() if is_there]
