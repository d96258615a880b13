"""Call what a handler has no business with; answers with the calls that were not refused."""

import ctypes
import os

X86_64 = {
    "ptrace": (101, 16), "mount": (165,), "umount2": (166,), "pivot_root": (155,), "chroot": (161,), "swapon": (167,),
    "reboot": (169,), "sethostname": (170,), "init_module": (175,), "finit_module": (313,), "kexec_load": (246,),
    "add_key": (248,), "request_key": (249,), "keyctl": (250, 0), "unshare": (272, 0x10000000), "setns": (308,),
    "process_vm_readv": (310, 1), "process_vm_writev": (311, 1), "kcmp": (312, 1, 1), "bpf": (321,),
    "userfaultfd": (323,), "perf_event_open": (298,), "io_uring_setup": (425, 1), "io_uring_enter": (426,),
    "io_uring_register": (427,), "open_by_handle_at": (304,), "fanotify_init": (300,), "memfd_create": (319,),
    "pidfd_open": (434, 1), "pidfd_getfd": (438,), "process_madvise": (440,), "mount_setattr": (442,),
    "fsopen": (430,), "move_mount": (429,), "open_tree": (428,), "quotactl": (179,), "acct": (163,),
    "settimeofday": (164,), "clock_settime": (227,), "adjtimex": (159, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1),
    "syslog": (103, 3), "personality": (135, 0x40000), "vhangup": (153,), "mknod": (133, b"node", 0o20666, 0x101),
}  # fmt: skip
AARCH64 = {
    "ptrace": (117, 16), "mount": (40,), "unshare": (97, 0x10000000), "setns": (268,), "bpf": (280,), "keyctl": (219, 0),
    "io_uring_setup": (425, 1), "process_vm_readv": (270, 1), "userfaultfd": (282,), "memfd_create": (279,),
}  # fmt: skip
REFUSED = (1, 38)  # EPERM, ENOSYS


def handle(inputs, context):
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for name, (number, *arguments) in {"x86_64": X86_64, "aarch64": AARCH64}[os.uname().machine].items():
        ctypes.set_errno(0)
        result = libc.syscall(number, *arguments, *[0] * (6 - len(arguments)))
        if result >= 0 or ctypes.get_errno() not in REFUSED:
            found.append(f"{name}: {result} {ctypes.get_errno()}")
    return found
