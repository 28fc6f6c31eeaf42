"""A chat server in a process of its own, for tests of what leaves the site: `python far_server.py HOST`.

Asked to `break`, it hangs up in the middle of its answer; asked to `refuse`, it answers 400.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
HEAD = {"id": "far-1", "created": 1, "model": "far-model"}


class Chat(BaseHTTPRequestHandler):
    """Says the same whatever it is asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answer one chat request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wanted = body["messages"][-1]["content"]
        if wanted == "refuse":
            self._whole({"error": {"message": "no", "code": "no", "type": "invalid_request_error"}}, status=400)
        elif body.get("stream"):
            self._stream(breaks=wanted == "break")
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "far"}, "finish_reason": "stop"}
            self._whole({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}, wanted == "break")

    def _whole(self, answer, breaks=False, status=200):
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if breaks else data)
        self.close_connection = breaks

    def _stream(self, breaks):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        words = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in ("far ", "away ", "it is")]
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        for choice in words if breaks else [*words, end]:
            self._event(json.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [choice]}))
        if breaks:
            self.close_connection = True
            return
        self._event(json.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data):
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def log_message(self, *_):
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[1], 0), Chat)
    print(server.server_port, flush=True)
    server.serve_forever()
