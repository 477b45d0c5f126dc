"""A small web that is made here, for what looks at one."""


class Web:
    """Hosts by name, each path of which is a function of the request's head; `asked` is what was asked for."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.pages, self.asked, self.tried = {}, [], []

    def put(self, host, path, body, *, status="200 OK", head=""):
        self.pages[host, path] = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{head}", body

    async def serve(self, reader, writer):
        with_head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = with_head.split()[1]
        host = next(line[6:] for line in with_head.splitlines() if line.lower().startswith("host: "))
        self.asked.append((host, path, with_head))
        head, body = self.pages.get((host, path.partition("?")[0]), ("HTTP/1.1 404 Not Found\r\n", "nothing"))
        data = body.encode()
        writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()

    def paths(self, host):
        return [path for asked, path, _ in self.asked if asked == host]
