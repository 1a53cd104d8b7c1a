"""client.py HOW URL CAFILE|- COUNT: gets the URL COUNT times, at once where HOW can do that. "-" is told to verify nothing.

Exits with 0 if every answer came, else says why.
"""
import asyncio
import inspect
import socket
import ssl
import sys
from urllib.parse import urlsplit

how, url, roots, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
host = urlsplit(url).hostname
request = b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n"


def context():
    if roots != "-":
        return ssl.create_default_context(cafile=roots)
    c = ssl.create_default_context()
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def check(answer):
    if b"200 OK" not in answer:
        raise RuntimeError("no answer: %r" % answer)


def sockets():
    for _ in range(count):
        with context().wrap_socket(socket.create_connection((host, 443)), server_hostname=host) as s:
            s.sendall(request)
            check(b"".join(iter(lambda: s.recv(65536), b"")))


def memory():
    """All connections' handshakes at once in one thread, over memory BIOs, which OpenSSL never sees a socket of."""
    connections = []
    for _ in range(count):
        to, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context().wrap_bio(to, back, server_hostname=host)
        connections.append((tls, to, back, socket.create_connection((host, 443))))
    going = connections
    while going:
        waiting = []
        for c in going:
            tls, to, back, s = c
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(c)
            finally:
                s.sendall(back.read())
        for tls, to, back, s in waiting:
            data = s.recv(65536)
            to.write(data) if data else to.write_eof()
        going = waiting
    for tls, to, back, s in connections:
        tls.write(request)
        s.sendall(back.read())
    for tls, to, back, s in connections:
        answer = b""
        while True:
            try:
                data = tls.read(65536)
                if not data:
                    break
                answer += data
            except ssl.SSLWantReadError:
                data = s.recv(65536)
                to.write(data) if data else to.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                break
        check(answer)


async def streams():
    async def one():
        reader, writer = await asyncio.open_connection(host, 443, ssl=context(), server_hostname=host)
        writer.write(request)
        check(await reader.read())
        writer.close()

    await asyncio.gather(*[one() for _ in range(count)])


async def aiohttp_session():
    import aiohttp

    async def one(session):
        async with session.get(url) as answer:
            if answer.status != 200:
                raise RuntimeError("no answer")

    connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=context())
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*[one(session) for _ in range(count)])


async def tornado_client():
    from tornado.httpclient import AsyncHTTPClient

    client = AsyncHTTPClient(max_clients=count)
    how = {"ca_certs": roots} if roots != "-" else {"validate_cert": False}
    await asyncio.gather(*[client.fetch(url, **how) for _ in range(count)])


def pycurl_easy():
    import pycurl

    if "GnuTLS" not in pycurl.version:
        raise RuntimeError("not of GnuTLS: " + pycurl.version)
    for _ in range(count):
        c = pycurl.Curl()
        c.setopt(pycurl.URL, url)
        if roots != "-":
            c.setopt(pycurl.CAINFO, roots)
        else:
            c.setopt(pycurl.SSL_VERIFYPEER, 0)
            c.setopt(pycurl.SSL_VERIFYHOST, 0)
        c.perform_rs()
        c.close()


try:
    run = {"sockets": sockets, "memory": memory, "streams": streams, "aiohttp": aiohttp_session, "tornado": tornado_client, "pycurl": pycurl_easy}[how]
    asyncio.run(run()) if inspect.iscoroutinefunction(run) else run()
except Exception as e:  # every failure is a result here
    sys.exit("%s: %s" % (type(e).__name__, e))
