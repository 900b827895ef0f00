"""What Prometheus reads at /metrics, under vLLM's names with our prefix: dashboards made for it need only that changed.

A request is one run over HTTP. What the embedded engine has in its batch and in its queue is asked when it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from narthex.backends.base import Backend
from narthex.chat import Event

PREFIX = "narthex:"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# vLLM's own bounds, so that its dashboards show the same.
_FIRST_TOKEN_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_NEXT_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
_WHOLE_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_FIRST = ("thought_delta", "agent_text_delta", "answer_delta")


class Metrics:
    """Of one server. `backends` tells which models there are when the engine's own figures are read."""

    def __init__(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        self.registry = CollectorRegistry()
        label, books = ["model_name"], self.registry
        self.running = Gauge(PREFIX + "num_requests_under_way", "Runs that have not ended.", label, registry=books)
        self.prompt = Counter(PREFIX + "prompt_tokens", "Tokens of prompts, cached ones too.", label, registry=books)
        self.generated = Counter(PREFIX + "generation_tokens", "Tokens of thought and answers.", label, registry=books)
        self.ended = Counter(
            PREFIX + "request_success", "Runs that have ended.", [*label, "finished_reason"], registry=books
        )
        self.first_token = Histogram(
            PREFIX + "time_to_first_token_seconds", "Until anything is thought or said.", label,
            buckets=_FIRST_TOKEN_S, registry=books,
        )  # fmt: skip
        self.next_token = Histogram(
            PREFIX + "request_time_per_output_token_seconds", "Per token behind the first, of all agents.", label,
            buckets=_NEXT_TOKEN_S, registry=books,
        )  # fmt: skip
        self.whole = Histogram(
            PREFIX + "e2e_request_latency_seconds", "From request to end.", label, buckets=_WHOLE_S, registry=books
        )
        self.registry.register(_Engines(backends))

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)


class Stopwatch:
    """One run, as the metrics see it. Feed it every event; call `end` once, however the run ended."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._began = time.monotonic()
        self._first: float | None = None
        self._num_generated = 0
        metrics.running.labels(model).inc()

    def feed(self, event: Event) -> None:
        if self._first is None and event.type in _FIRST:
            self._first = time.monotonic()
            self._metrics.first_token.labels(self._model).observe(self._first - self._began)
        if event.type == "turn_finished":
            self._num_generated += event.thought_tokens + event.answer_tokens
            self._metrics.prompt.labels(self._model).inc(event.prompt_tokens)
            self._metrics.generated.labels(self._model).inc(event.thought_tokens + event.answer_tokens)

    def end(self, reason: str) -> None:
        now = time.monotonic()
        self._metrics.running.labels(self._model).dec()
        self._metrics.ended.labels(self._model, reason).inc()
        self._metrics.whole.labels(self._model).observe(now - self._began)
        if self._first is not None and self._num_generated > 1:
            each_s = (now - self._first) / (self._num_generated - 1)
            self._metrics.next_token.labels(self._model).observe(each_s)


class _Engines(Collector):
    """Figures of the embedded engines; an upstream keeps its own."""

    def __init__(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        self._backends = backends

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily(PREFIX + "num_requests_running", "Turns in the batch.", labels=["model_name"])
        waiting = GaugeMetricFamily(PREFIX + "num_requests_waiting", "Turns in the queue.", labels=["model_name"])
        used = GaugeMetricFamily(PREFIX + "kv_cache_usage_perc", "Pages in use, 0 to 1.", labels=["model_name"])
        for name, backend in self._backends().items():
            core: Any = getattr(getattr(backend, "engine", None), "core", None)
            if core is None:
                continue
            running.add_metric([name], core.num_running)
            waiting.add_metric([name], core.num_waiting)
            pages = sum(core.pool.num_pages)
            used.add_metric([name], 1 - sum(core.pool.num_free) / pages if pages else 0.0)
        return [running, waiting, used]
