"""Open sockets that lead to the hypervisor, to the kernel and to the wire."""

import socket


def handle(inputs, context):
    found = []
    families = {"vsock": 40, "netlink": 16, "packet": 17, "alg": 38, "bluetooth": 31, "can": 29, "tipc": 30, "xdp": 44}
    for name, family in families.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
                found.append(name)
            except OSError:
                continue
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        found.append("raw")
    except OSError:
        pass
    return found
