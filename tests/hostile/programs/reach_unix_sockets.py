"""Connect to the engine's socket, to the host's abstract sockets, to neighbours' sockets."""

import os
import socket


def handle(inputs, context):
    found = []
    names = ["\0" + inputs["abstract"], "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]
    names += [inputs["engine"], "/run/dbus/system_bus_socket", "\0/tmp/.X11-unix/X0"]
    for top in ("/run", "/var/run", "/tmp", "/dial", "/uhlp"):
        for folder, _, files in os.walk(top):
            names += [f"{folder}/{name}" for name in files]
    for name in names:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            try:
                with socket.socket(socket.AF_UNIX, kind) as channel:
                    channel.settimeout(0.2)
                    channel.connect(name)
                found.append(name)
            except OSError:
                continue
    return found
