"""A server as vLLM is from outside: completions, a metrics page that moves with them, and a meter before its host.

    python vllm_stand_in.py    (prints its port)

One step after the other, in real time: each takes a fixed part, so much for each token of a prompt, and so much for
each token that is written; a prompt is read in one step. `/meter` is its host's energy register in joules, by its own
times: 50 W, and 100 W more in a step. `/exact` says what each request had of the steps, by the rule of single steps.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIXED_S, PROMPT_S, WRITTEN_S = 4e-3, 2e-5, 2e-4
IDLE_W, MORE_W = 50.0, 100.0
HEAD = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} 0.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {prompt}
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{{engine="0",model_name="m"}} 1.7638e+09
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="m"}} {written}
# HELP vllm:prompt_tokens_cached_total Number of cached prompt tokens (local + external).
# TYPE vllm:prompt_tokens_cached_total counter
vllm:prompt_tokens_cached_total{{engine="0",model_name="m"}} 0.0
# HELP vllm:iteration_tokens_total Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{{engine="0",le="+Inf",model_name="m"}} {steps}
vllm:iteration_tokens_total_count{{engine="0",model_name="m"}} {steps}
vllm:iteration_tokens_total_sum{{engine="0",model_name="m"}} {tokens}
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
"""


class Asked:
    """One request in the batch."""

    def __init__(self, body):
        self.prompt, self.wanted = len(body["prompt"].split()), body.get("max_tokens", 16)
        self.id, self.written, self.engine_s = body.get("user", ""), 0, 0.0
        self.news = threading.Condition()

    def grow(self):
        with self.news:
            self.written += 1
            self.news.notify()

    def wait(self, seen):
        with self.news:
            self.news.wait_for(lambda: self.written > seen)
            return self.written


class Engine:
    """Steps for as long as somebody asks."""

    def __init__(self):
        self.began_s, self.began_at = time.monotonic(), time.time()
        self.lock, self.asked = threading.Condition(), []
        self.prompt = self.written = self.steps = 0
        self.busy_s, self.in_step_s = 0.0, 0.0
        self.exact = {}
        threading.Thread(target=self.run, daemon=True).start()

    def take(self, body):
        asked = Asked(body)
        with self.lock:
            self.asked.append(asked)
            self.lock.notify()
        return asked

    def run(self):
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self.asked)
                batch, self.in_step_s = list(self.asked), time.monotonic()
            works = [WRITTEN_S if one.written else PROMPT_S * one.prompt for one in batch]
            time.sleep(FIXED_S + sum(works))
            with self.lock:
                took_s = time.monotonic() - self.in_step_s
                self.busy_s, self.in_step_s = self.busy_s + took_s, 0.0
                floor_s = max(took_s - sum(works), 0.0)
                for one, work in zip(batch, works, strict=True):
                    one.engine_s += floor_s / len(batch) + work * (took_s - floor_s) / sum(works)
                    self.prompt += 0 if one.written else one.prompt
                    self.exact[one.id] = one.engine_s
                self.written, self.steps = self.written + len(batch), self.steps + 1
                self.asked = [one for one in self.asked if one not in batch or one.written + 1 < one.wanted]
            for one in batch:
                one.grow()

    def joules(self):
        with self.lock:
            now_s = time.monotonic()
            busy_s = self.busy_s + (now_s - self.in_step_s if self.in_step_s else 0.0)
            return IDLE_W * (now_s - self.began_s) + MORE_W * busy_s

    def page(self):
        with self.lock:
            return HEAD.format(
                running=float(len(self.asked)), prompt=float(self.prompt), written=float(self.written),
                steps=float(self.steps), tokens=float(self.prompt + self.written), started=self.began_at,
            )  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine = Engine()

    def do_GET(self):
        said = {
            "/metrics": lambda: self.engine.page().encode(),
            "/meter": lambda: json.dumps({"total": self.engine.joules()}).encode(),
            "/exact": lambda: json.dumps(self.engine.exact).encode(),
        }[self.path]()
        self.say(said)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = self.engine.take(body)
        usage = {"prompt_tokens": asked.prompt, "completion_tokens": asked.wanted}
        usage["total_tokens"] = sum(usage.values())
        if not body.get("stream"):
            while asked.wait(asked.wanted - 1) < asked.wanted:
                pass
            choice = {"index": 0, "text": " word" * asked.wanted, "finish_reason": "length", "logprobs": None}
            self.say(json.dumps({"id": "c", "object": "text_completion", "model": "m", "created": 1,
                                 "choices": [choice], "usage": usage}).encode(), "application/json")  # fmt: skip
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        seen = 0
        while seen < asked.wanted:
            now = asked.wait(seen)
            choice = {"index": 0, "text": " word" * (now - seen), "finish_reason": None, "logprobs": None}
            self.event({"id": "c", "object": "text_completion", "model": "m", "created": 1, "choices": [choice]})
            seen = now
        self.event({"id": "c", "object": "text_completion", "model": "m", "created": 1, "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, fields):
        self.wfile.write(b"data: " + json.dumps(fields).encode() + b"\n\n")

    def say(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
