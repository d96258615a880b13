"""Starts what it was not allowed, and a program of its own making; says what ran."""

import os
import shutil
import subprocess
import sys

ran = []
with open("/tmp/own", "w") as file:
    file.write(f"#!{sys.executable}\nprint('ran')\n")
os.chmod("/tmp/own", 0o755)
for program in ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/env", "/usr/bin/id", "/usr/sbin/chroot", "/tmp/own"):
    try:
        if subprocess.run([program, "-c", "true"], capture_output=True, timeout=5).returncode == 0:
            ran.append(program)
    except (OSError, subprocess.TimeoutExpired):
        continue
print(ran, shutil.which("sh"))
