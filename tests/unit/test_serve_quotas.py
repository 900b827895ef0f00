"""Quotas bind before a run and in the middle of one; every run leaves a line; metrics count what happened."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing

import pytest

from narthex.backends.base import TurnDelta
from narthex.backends.fake import Said, ScriptedBackend
from narthex.backends.settings import load_settings
from narthex.base.errors import ConfigError
from narthex.chat import Budget
from narthex.serve import Service
from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError
from narthex.serve.quotas import Quotas, begins, ends
from narthex.serve.settings import Quota, RoleSettings, ServeSettings, read_serve_settings, unmatched
from narthex.store import AuditLine, Store

from .serve_helpers import PATH, asks, chunks_of, data_uri
from .test_serve_keys import bearer, team

DAY_S = 86_400.0
NOON = 1_700_000_000.0 // DAY_S * DAY_S + DAY_S / 2
BO, CY = Caller("1", "bo", ("lab",), "user"), Caller("2", "cy", ("lab", "ops"), "user")


class TestPeriods:
    @pytest.mark.parametrize(("per", "seconds"), [("minute", 60), ("hour", 3600), ("day", DAY_S)])
    def test_they_begin_and_end_at_full_ones(self, per, seconds):
        assert begins(per, NOON + 59) == (NOON + 59) // seconds * seconds
        assert ends(per, NOON + 59) - begins(per, NOON + 59) == seconds

    @pytest.mark.parametrize(
        ("at", "began", "ended"),
        [
            ("2026-02-15T08:00:00+00:00", "2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"),
            ("2026-12-31T23:59:59+00:00", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ],
    )
    def test_months_have_their_own_length(self, at, began, ended):
        from datetime import datetime

        now = datetime.fromisoformat(at).timestamp()
        assert begins("month", now) == datetime.fromisoformat(began).timestamp()
        assert ends("month", now) == datetime.fromisoformat(ended).timestamp()


class TestPurse:
    async def test_a_quota_is_for_each_user_one_user_or_a_whole_group(self):
        clock = lambda: NOON  # noqa: E731
        settings = ServeSettings(quotas=(Quota(tokens=10), Quota(tokens=4, user="bo"), Quota(tokens=12, group="lab")))
        quotas = Quotas(settings, None, clock)
        purse = await quotas.begin(BO)
        assert purse.lowered(Budget(think_tokens=9)) == Budget(think_tokens=4, answer_tokens=4)
        purse.spend(4, 0)
        assert purse.problem().code == "quota_exceeded"
        with pytest.raises(ApiError) as raised:
            await quotas.begin(BO)
        assert raised.value.http_status == 429
        other = await quotas.begin(CY)
        assert other.lowered(Budget()) == Budget(think_tokens=8, answer_tokens=8), "of the group's 12, bo spent 4"
        other.spend(8, 0)
        assert "group lab" in other.problem().message

    async def test_a_new_period_begins_at_nothing(self):
        now = [NOON]
        quotas = Quotas(ServeSettings(quotas=(Quota("minute", tokens=5, agent_seconds=3),)), None, lambda: now[0])
        (await quotas.begin(BO)).spend(1, 3.0)
        assert quotas.headers(BO, 429)["retry-after"] == str(int(ends("minute", NOON) - NOON))
        with pytest.raises(ApiError, match="agent-seconds"):
            await quotas.begin(BO)
        now[0] += 60
        await quotas.begin(BO)
        assert quotas.headers(BO, 200)["x-ratelimit-remaining-tokens"] == "5"

    async def test_what_was_spent_before_a_restart_counts(self, tmp_path):
        with Store.open(tmp_path) as store:
            store.audit.begin(AuditLine("r", "1", "bo", "k", time.time(), "m", None, "instant", {}, (),
                                        prompt_tokens=7, agent_seconds=2.0))  # fmt: skip
            store.flush()
            quotas = Quotas(ServeSettings(quotas=(Quota("month", tokens=10),)), store.audit)
            assert (await quotas.begin(BO)).lowered(Budget()).think_tokens == 3
            assert quotas.told(BO)[0]["tokens_left"] == 3 and quotas.told(CY) is None

    async def test_runs_at_once_are_counted_and_given_back(self):
        quotas = Quotas(ServeSettings(runs_at_once=2), None)
        first, _ = await quotas.begin(BO), await quotas.begin(BO)
        with pytest.raises(ApiError) as raised:
            await quotas.begin(BO)
        assert raised.value.code == "too_many_runs" and quotas.headers(BO, 429)["retry-after"] == "2"
        await quotas.begin(CY)
        first.close()
        first.close()
        await quotas.begin(BO)
        assert quotas.headers(BO, 200)["x-ratelimit-remaining-requests"] == "0"


def chatty(request):
    return Said(text=" ".join(["word"] * 200))


async def test_what_is_spent_is_a_429_with_openais_headers(tmp_path):
    settings = ServeSettings(quotas=(Quota("day", tokens=40),))
    async with team(tmp_path, settings=settings) as (client, _, keys):
        first = await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))
        spent = first.json()["usage"]["total_tokens"]
        assert first.status_code == 200 and 0 < spent < 40
        assert first.headers["x-ratelimit-limit-tokens"] == "40"
        assert first.headers["x-ratelimit-reset-tokens"].endswith("s")
        for _ in range(40):
            reply = await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))
            if reply.status_code != 200:
                break
            assert int(reply.headers["x-ratelimit-remaining-tokens"]) < 40
        assert reply.status_code == 429 and int(reply.headers["retry-after"]) > 0
        error = reply.json()["error"]
        assert error["type"] == "rate_limit_error" and error["code"] == "quota_exceeded"
        usage = (await client.get("/api/usage", headers=bearer(keys["bo"]))).json()
        assert usage["quota"][0]["tokens_left"] == 0 and usage["data"][0]["runs"] >= 1
        assert (await client.post(PATH, json=asks(), headers=bearer(keys["cy"]))).status_code == 200, "another's"


async def test_a_run_ends_where_the_quota_does(tmp_path):
    """In a stream the error comes behind what was said; the store and the audit line know it, too."""
    settings = ServeSettings(quotas=(Quota("day", tokens=100),))
    async with team(tmp_path, chatty, settings=settings) as (client, service, keys):
        reply = await client.post(PATH, json=asks(stream=True, reasoning_effort="none"), headers=bearer(keys["bo"]))
        *said, error = chunks_of(reply.text)
        assert error["error"]["code"] == "quota_exceeded"
        assert 20 < sum(1 for chunk in said if chunk["choices"][0]["delta"].get("content")) <= 100
        await asyncio.to_thread(service.store.flush)
        (line,) = service.store.audit.lines()
        assert line.status == "quota" and line.answer_tokens >= 100, "though the turn never ended"
        assert [run.status for run in service.store.runs()] == ["failed"]
        again = await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))
        assert again.status_code == 429


async def test_too_many_runs_at_once_are_a_429(tmp_path):
    is_going, may_end = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedBackend):
        async def turn(self, request):
            is_going.set()
            yield TurnDelta("text", "1")
            await may_end.wait()
            async with aclosing(super().turn(request)) as deltas:
                async for delta in deltas:
                    yield delta

    settings = ServeSettings(runs_at_once=1)
    async with team(tmp_path, Slow(lambda request: Said(text="2")), settings=settings) as (client, _, keys):
        first = asyncio.create_task(client.post(PATH, json=asks(), headers=bearer(keys["bo"])))
        await asyncio.wait_for(is_going.wait(), 20)
        second = await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))
        assert second.status_code == 429 and second.json()["error"]["code"] == "too_many_runs"
        assert second.headers["retry-after"] == "2" and second.headers["x-ratelimit-remaining-requests"] == "0"
        may_end.set()
        assert (await first).status_code == 200
        assert (await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))).status_code == 200


async def test_every_run_leaves_a_line_without_a_word_of_it(tmp_path):
    file = tmp_path / "audit.jsonl"
    settings = ServeSettings(audit_file=str(file))
    secret = "the patient is Mr Smith"

    def script(request):
        return Said(thought=secret, text=secret)

    async with team(tmp_path / "home", script, settings=settings) as (client, service, keys):
        reply = await client.post(PATH, json=asks(secret), headers=bearer(keys["bo"]))
        dropped = await client.post(PATH, json=asks(secret, store=False), headers=bearer(keys["cy"]))
        await asyncio.to_thread(service.store.flush)
        second, first = service.store.audit.lines()
    assert reply.status_code == dropped.status_code == 200
    assert (first.user_name, first.key_id, first.status) == ("bo", keys["bo"].split("_")[1], "done")
    assert first.run_id == reply.json()["narthex"]["run_id"] and second.user_name == "cy", "with store: false, too"
    usage = reply.json()["usage"]
    assert first.prompt_tokens == usage["prompt_tokens"] > 0
    assert first.thought_tokens + first.answer_tokens == usage["completion_tokens"]
    assert first.mode == "thinking" and first.budget["think_tokens"] > 0 and first.agent_seconds > 0
    lines = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    assert [line["run_id"] for line in lines] == [first.run_id, second.run_id] and lines[0]["status"] == "done"
    assert "Smith" not in file.read_text(encoding="utf-8") and file.stat().st_mode & 0o077 == 0
    assert "Smith" not in json.dumps([first._asdict(), second._asdict()])


async def test_metrics_count_runs_under_vllms_names(tmp_path):
    async with team(tmp_path, chatty) as (client, _, keys):
        await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))
        assert (await client.get("/metrics", headers=bearer(keys["bo"]))).status_code == 403
        assert (await client.get("/metrics")).status_code == 401
        page = (await client.get("/metrics", headers=bearer(keys["ada"]))).text
    for line in (
        'narthex:request_success_total{finished_reason="done",model_name="scripted"} 1.0',
        'narthex:time_to_first_token_seconds_count{model_name="scripted"} 1.0',
        'narthex:e2e_request_latency_seconds_count{model_name="scripted"} 1.0',
        'narthex:request_time_per_output_token_seconds_count{model_name="scripted"} 1.0',
        'narthex:generation_tokens_total{model_name="scripted"} 200.0',
    ):
        assert line in page, page
    assert 'narthex:num_requests_under_way{model_name="scripted"} 0.0' in page


@pytest.mark.parametrize(
    ("who", "base_url", "headers", "status"),
    [
        ("this_machine", "http://127.0.0.1", {}, 200),
        ("this_machine", "http://narthex.example", {}, 403),
        ("this_machine", "http://127.0.0.1", {"x-forwarded-for": "9.9.9.9"}, 403),
        ("nobody", "http://127.0.0.1", {}, 401),
    ],
)
async def test_who_may_read_metrics_is_a_setting(tmp_path, who, base_url, headers, status):
    async with team(tmp_path, settings=ServeSettings(metrics=who), base_url=base_url) as (client, _, keys):
        assert (await client.get("/metrics", headers=headers)).status_code == status
        assert (await client.get("/v1/models", headers=headers)).status_code == 401, "the metrics alone"
        if who == "nobody":
            assert (await client.get("/metrics", headers=bearer(keys["ada"]))).status_code == 404


async def test_models_and_tools_that_a_role_may_not_use_are_not_there(tmp_path):
    settings = ServeSettings(roles={"user": RoleSettings(models=(), tools=())})
    async with team(tmp_path, settings=settings) as (client, _, keys):
        bo, ada = bearer(keys["bo"]), bearer(keys["ada"])
        assert (await client.get("/v1/models", headers=bo)).json()["data"] == []
        assert (await client.get("/v1/models/scripted", headers=bo)).status_code == 404
        for path, body in ((PATH, asks()), ("/tokenize", {"model": "scripted", "prompt": "x"})):
            reply = await client.post(path, json=body, headers=bo)
            assert reply.status_code == 404 and "scripted" not in reply.json()["error"]["message"].split("(")[-1], path
        assert (await client.post(PATH, json=asks(), headers=ada)).status_code == 200


async def test_a_role_looks_again_only_with_tools_of_its_own(tmp_path):
    settings = ServeSettings(roles={"user": RoleSettings(tools=())})
    backend = ScriptedBackend(lambda request: Said(text="12"))
    async with team(tmp_path, backend, settings=settings) as (client, _, keys):
        for name in ("bo", "ada"):
            reply = await client.post(PATH, json=asks("What?", data_uri()), headers=bearer(keys[name]))
            assert reply.status_code == 200
    assert [[tool.name for tool in request.tools] for request in backend.requests] == [[], ["zoom"]]


class TestSettings:
    def test_the_table_is_read(self, tmp_path):
        path = tmp_path / "narthex.toml"
        path.write_text(
            '[serve]\nruns_at_once = 4\nmetrics = "this_machine"\npicture_domains = ["*.example.org"]\n'
            '[serve.roles.user]\nmodels = ["nano"]\n[[serve.quotas]]\nper = "day"\ntokens = 5\ngroup = "lab"\n'
        )
        found = read_serve_settings(load_settings(path).serve)
        assert found.quotas == (Quota("day", tokens=5, group="lab"),) and found.runs_at_once == 4
        assert found.role("user").models == ("nano",) and found.role("admin").models is None

    @pytest.mark.parametrize(
        ("table", "told"),
        [
            ({"runs_at_onec": 1}, "did you mean 'runs_at_once'"), ({"runs_at_once": 0}, "more than 0"),
            ({"metrics": "all"}, "one of"), ({"roles": {"root": {}}}, "no role 'root'"),
            ({"quotas": [{"per": "year", "tokens": 1}]}, "one of"), ({"quotas": [{"per": "day"}]}, "names 'tokens'"),
            ({"quotas": [{"tokens": 1, "user": "a", "group": "b"}]}, "not for both"),
            ({"quotas": [{"tokens": -1}]}, "0 or more"), ({"picture_domains": ["127.0.0.1"]}, "no name of a host"),
            ({"picture_domains": ["*"]}, "no name"), ({"picture_domains": ["localhost"]}, "no name"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, table, told):
        with pytest.raises(ConfigError, match=told.replace("*", ".")):
            read_serve_settings(table)

    def test_names_that_nothing_has_are_told(self):
        settings = ServeSettings(
            roles={"user": RoleSettings(models=("nno",), tools=("zoom",))},
            quotas=(Quota(tokens=1, user="eve"), Quota(tokens=1, group="lab"), Quota(tokens=1)),
        )
        known = {"user": {"ada"}, "group": {"lab"}, "model": {"nano"}, "tool": {"zoom"}}
        assert unmatched(settings, known) == [
            "[serve.quotas] names the user 'eve', and there is none",
            "[serve.roles.user] names the model 'nno', and there is none; did you mean 'nano'?",
        ]

    def test_an_audit_file_that_cannot_be_written_is_told_at_once(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be written"):
            Service({}, settings=ServeSettings(audit_file=str(tmp_path / "none" / "audit.jsonl")))
