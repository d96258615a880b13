"""Which modules a handler may import: the standard library less what reaches outside or into the interpreter."""

PROVIDED_MODULES = frozenset({"uhlp_runtime", "__future__"})

FORBIDDEN_MODULES = frozenset(
    {
        # processes, threads, signals
        "_posixsubprocess", "_signal", "_thread", "asyncio", "atexit", "concurrent", "faulthandler", "multiprocessing",
        "posix", "pty", "queue", "resource", "sched", "signal", "subprocess", "threading",
        # network
        "_socket", "_ssl", "cgi", "ftplib", "http", "imaplib", "mailbox", "nntplib", "poplib", "select", "selectors",
        "smtpd", "smtplib", "socket", "socketserver", "ssl", "telnetlib", "urllib.error", "urllib.request",
        "urllib.response", "urllib.robotparser", "webbrowser", "wsgiref", "xmlrpc",
        # files and devices
        "_io", "_pyio", "curses", "dbm", "fcntl", "fileinput", "getpass", "glob", "grp", "linecache", "mmap", "nt",
        "pathlib", "pwd", "readline", "shelve", "shutil", "spwd", "sqlite3", "syslog", "tarfile", "tempfile", "termios",
        "tty", "zipfile",
        # the interpreter's machinery
        "_ctypes", "_imp", "_testcapi", "_winapi", "bdb", "builtins", "cProfile", "code", "codeop", "ctypes", "dis",
        "distutils", "doctest", "ensurepip", "gc", "imp", "importlib", "inspect", "lib2to3", "marshal", "modulefinder",
        "pdb", "pickle", "pickletools", "pkgutil", "profile", "py_compile", "runpy", "site", "sysconfig", "timeit",
        "trace", "tracemalloc", "turtle", "tkinter", "unittest", "venv", "winreg", "zipapp", "zipimport",
    }
)  # fmt: skip

ALLOWED_MEMBERS: dict[str, frozenset[str]] = {
    "os": frozenset({"path", "linesep", "sep"}),
    "sys": frozenset({"maxsize", "float_info", "version_info", "byteorder", "maxunicode", "intern"}),
    "io": frozenset({"StringIO", "BytesIO", "TextIOWrapper"}),
}
"""Modules of which only these members may be used."""
