"""Connects to this machine and beyond, by every family that it may open; says what answered."""

import socket
import sys

port, abstract, engine = int(sys.argv[1]), sys.argv[2], sys.argv[3]
reached = []
for address in ("127.0.0.1", "172.17.0.1", "10.0.2.2", "192.168.0.1", "1.1.1.1", "169.254.169.254"):
    for where in (port, 53, 80):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.settimeout(0.1)
                probe.connect((address, where))
                reached.append((address, where))
        except OSError:
            continue
for path in ("\0" + abstract, engine, "/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"):
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
            reached.append(path)
    except OSError:
        continue
for family in (socket.AF_NETLINK, socket.AF_PACKET, 40):
    try:
        socket.socket(family, socket.SOCK_RAW).sendto(b"x", ("lo", 0))
        reached.append(family)
    except (OSError, TypeError, ValueError):
        continue
print(reached)
