"""A chat server that says a word every 50 ms, in a process of its own: `python slow_server.py HOST`."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEAD = {"id": "slow-1", "created": 1, "model": "slow"}
PAUSE_S = 0.05


class Chat(BaseHTTPRequestHandler):
    """Says `word` as often as it is asked for tokens."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answer one chat request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        count = body["max_tokens"]
        usage = {"prompt_tokens": 2, "completion_tokens": count, "total_tokens": count + 2}
        if body.get("stream"):
            self._stream(count, usage)
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * count}, "finish_reason": "length"}
        data = json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        self._head("application/json", ("content-length", str(len(data))))
        self.wfile.write(data)

    def _stream(self, count, usage):
        self._head("text/event-stream", ("transfer-encoding", "chunked"))
        for number in range(count):
            end = "length" if number == count - 1 else None
            self._event({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": end}]})
            time.sleep(PAUSE_S)
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def _head(self, kind, how):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header(*how)
        self.end_headers()

    def _event(self, what):
        event = f"data: {json.dumps({**HEAD, 'object': 'chat.completion.chunk', **what})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def log_message(self, *_):
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[1], 0), Chat)
    print(server.server_port, flush=True)
    server.serve_forever()
