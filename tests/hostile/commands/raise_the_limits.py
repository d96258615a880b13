"""Sets its limits higher, and says what it got."""

import resource

got = []
for name in ("NPROC", "NOFILE", "FSIZE", "CORE", "CPU"):
    kind = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (hard + 1, hard + 1))
        got.append(name)
    except (OSError, ValueError):
        continue
print(got)
