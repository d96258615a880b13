"""What runs inside a sandbox: a package of its own that imports nothing of UHLP and that nobody imports.

    zygote      the supervisor: loads everything once, forks workers, reaps them
    walls       what a process gives up for good: identity, capabilities, limits, system calls
    promises    walls that a container engine built, looked at from inside
    usage       what processes take
    process_groups  a worker and what it started, ended together
    seccomp     classic BPF programs that refuse system calls
    worker      one process that serves `execute` frames over one stream
    frames      the stream: length-prefixed JSON-RPC
    jit, llm, pytest_run    one file per handler type
    reach       whether a handler can be called again in its process
    artifacts   code and templates by content
    answers     how a result, an error or a deoptimisation looks on the wire
    output      what a handler prints
    sweep       /tmp behind a worker that has ended
    runtime     the `uhlp_runtime` module that handlers import

The driver copies this folder as `uhlp_runner` beside its dependencies; inside, UHLP itself cannot be seen.
"""


class RunnerError(Exception):
    """Something went wrong inside a sandbox; the worker turns it into an answer or ends."""
