"""Connect to whatever may be there: the host's services, the gateway, the metadata service, name servers."""

import socket
import struct


def gateways():
    try:
        with open("/proc/net/route") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return [socket.inet_ntoa(struct.pack("<I", int(row[2], 16))) for row in rows if row[2] != "00000000"]
    except OSError:
        return []


def handle(inputs, context):
    found = []
    for host in ["127.0.0.1", "0.0.0.0", "::1", "172.17.0.1", "172.17.0.2", "169.254.169.254", "10.0.2.2", *gateways()]:
        for port in (inputs["port"], 80, 2375):
            try:
                socket.create_connection((host, port), timeout=0.2)
                found.append(f"{host}:{port}")
            except OSError:
                continue
    for server in ("127.0.0.53", "8.8.8.8"):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
                channel.sendto(b"\0" * 12, (server, 53))
            found.append(server)
        except OSError:
            continue
    try:
        found.append(str(socket.getaddrinfo("example.com", 80)))
    except OSError:
        pass
    try:
        socket.create_server(("0.0.0.0", 8080))
        found.append("a server")
    except OSError:
        pass
    return found
