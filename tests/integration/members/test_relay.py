"""Contact by relay: no number for the seller, every ground to refuse looked at twice, no contact lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time as clocks
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.profiles import MATCHMAKER, REGISTRAR, Profile, member
from tests.support.relay_process import RULES
from tests.support.soaking import often
from vaultstore import Actor
from vaultstore.errors import AccessDenied, BudgetExhausted, ConsentMissing, SettingsError, UnsupportedOperation
from vaultstore.members.carriers import CarrierDown, CarrierRefused, Contact, RecordingCarrier, WebhookCarrier
from vaultstore.members.models import ContactRequest
from vaultstore.members.relay import ContactRules, Relay
from vaultstore.members.relay_worker import RelayWorker, Worked
from vaultstore.members.suppression import Suppressions, suppress_new
from vaultstore.members.templates import Templates, carries
from vaultstore.records import canaries
from vaultstore.records.canaries import Canary

pytestmark = pytest.mark.integration


class Desk:
    """The relay of one store, with a carrier that remembers."""

    def __init__(self, profile: Profile, carrier: RecordingCarrier | WebhookCarrier | None = None) -> None:
        self.profile, self.carrier = profile, carrier or RecordingCarrier()
        self.ahead = timedelta(0)
        token = profile.token(Actor("relay-desk", role="relay_desk"), "relay.desk")
        self.relay = Relay(profile.store, lambda: token, rules=RULES, clock=self.now)
        self.worker = RelayWorker(
            profile.store, self.carrier, desk=lambda: token, number=self.number, rules=RULES, clock=self.now
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def number(self, one: uuid.UUID) -> str:
        return self.profile.token(Actor("relay-1", role="telephony"), "relay.telephony", subjects=[one])

    def ask(self, one: uuid.UUID, who: Actor = MATCHMAKER) -> uuid.UUID:
        return self.relay.request(self.profile.token(who, "sales.outreach"), one, "call").id

    def suppress(self, one: uuid.UUID) -> None:
        suppressions = Suppressions(
            self.profile.store,
            lambda it: self.profile.token(Actor("s", role="suppression_desk"), "suppression.desk", subjects=[it]),
        )
        suppressions.suppress(self.profile.token(Actor(str(one), role="member"), "member.self"), one)


def held(profile: Profile, count: int) -> list[uuid.UUID]:
    ids = profile.add_members(count)
    profile.claim(ids)
    return ids


def rows(profile: Profile) -> list[tuple[str, str | None]]:
    table = ContactRequest.__table__
    with profile.store.engine.connect() as connection:
        found = connection.execute(sa.select(table.c.state, table.c.reason).order_by(table.c.requested_at))
        return [(state, reason) for state, reason in found]


def why(desk: Desk, one: uuid.UUID, who: Actor = MATCHMAKER) -> str:
    with pytest.raises(AccessDenied) as refused:
        desk.ask(one, who)
    return refused.value.reason


def test_a_call_reaches_the_carrier_and_the_number_nobody_else(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk = Desk(profile)
    request = desk.ask(one)
    assert desk.worker.run() == [Worked(request, "sent")]
    assert isinstance(desk.carrier, RecordingCarrier)
    [placed] = desk.carrier.placed.values()
    assert (placed.key, placed.channel, placed.number) == (str(request), "call", "13800000000")
    assert "138" not in repr(placed)
    told = desk.relay.status(profile.token(MATCHMAKER, "sales.outreach"), request)
    assert (told.state, told.reason) == ("sent", None)
    assert "13800000000" not in repr(told)
    with profile.store.engine.connect() as connection:
        assert "13800000000" not in str(connection.execute(sa.select(ContactRequest.__table__)).mappings().all())
    with pytest.raises(AccessDenied):
        desk.relay.status(profile.token(Actor("u-99", role="matchmaker", attributes={}), "sales.outreach"), request)


def test_each_ground_to_refuse_is_told_when_it_is_asked_for(profile: Profile) -> None:
    unwilling, said_no, silent, stranger = [*held(profile, 3), *profile.add_members(4)][:4]
    desk = Desk(profile)
    profile.store.consents.withdraw(unwilling, "matchmaking")
    desk.suppress(said_no)
    profile.store.subjects.restrict(silent, reason="asked")
    with pytest.raises(ConsentMissing):
        desk.ask(unwilling)
    assert why(desk, said_no) == "contact.suppressed"
    assert why(desk, silent) in ("subject.restricted", "lead.missing")
    assert why(desk, stranger) == "lead.missing"
    assert rows(profile) == []
    assert desk.worker.run() == []


def test_and_looked_at_again_when_it_is_sent(profile: Profile) -> None:
    unwilling, said_no, silent, gone, willing = held(profile, 5)
    desk = Desk(profile)
    for one in (unwilling, said_no, silent, gone, willing):
        desk.ask(one)
    profile.store.consents.withdraw(unwilling, "matchmaking")
    desk.suppress(said_no)
    profile.store.subjects.restrict(silent, reason="asked")
    profile.store.subjects.erase(gone, reason="asked")
    worked = desk.worker.run()
    assert isinstance(desk.carrier, RecordingCarrier)
    assert len(desk.carrier.placed) == 1
    assert [w.state for w in worked] == ["refused", "refused", "refused", "sent"]  # an erasure takes its requests away
    assert worked[0].reason == "consent.missing"
    assert worked[1].reason == "contact.suppressed"


def test_once_a_day_whoever_asks_and_whatever_account_the_person_has(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk = Desk(profile)
    desk.ask(one)
    desk.worker.run()
    assert why(desk, one) == "budget.exhausted"
    with profile.store.begin(profile.token(REGISTRAR, "registration")) as session:
        again = member(0)  # the same phone
        new = again.id
        session.add(again)
        suppress_new(session, [again])
    profile.claim([new])
    request = desk.ask(new)  # the seller's count is by member
    assert desk.worker.run() == [Worked(request, "refused", "budget.exhausted")]
    assert isinstance(desk.carrier, RecordingCarrier)
    assert len(desk.carrier.placed) == 1


def test_a_script_is_stopped_by_its_rate(profile: Profile) -> None:
    ids = held(profile, 12)
    desk = Desk(profile)
    for one in ids[:10]:
        desk.ask(one)
    with pytest.raises(BudgetExhausted):
        desk.ask(ids[10])
    assert len(rows(profile)) == 10


def test_nobody_is_called_at_night(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk = Desk(profile)
    always = ContactRules(quiet_from=time(0, 0), quiet_until=time(23, 59, 59, 999999))
    quiet = Relay(profile.store, desk.relay._desk, rules=always)
    with pytest.raises(AccessDenied) as refused:
        quiet.request(profile.token(MATCHMAKER, "sales.outreach"), one, "call")
    assert refused.value.reason == "contact.quiet"
    desk.ask(one)
    worker = RelayWorker(profile.store, desk.carrier, desk=desk.relay._desk, number=desk.number, rules=always)
    assert worker.run() == []
    assert rows(profile) == [("queued", None)]


def test_a_canary_is_called_by_nobody_and_looks_called(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk = Desk(profile)
    with profile.store.parts.ledger.gate() as connection:
        canaries.add(connection, [Canary(one.bytes, "u-17", "sh-01", datetime.now(UTC))])
    request = desk.ask(one)
    assert desk.worker.run() == [Worked(request, "sent")]
    assert isinstance(desk.carrier, RecordingCarrier)
    assert desk.carrier.asked == []
    assert rows(profile) == [("sent", None)]


def test_a_carrier_that_is_down_is_asked_again_and_one_that_refuses_is_not(profile: Profile) -> None:
    first, second = held(profile, 2)
    answers: list[Exception | None] = [CarrierDown("down"), None, CarrierRefused("no")]

    def answer(contact: Contact) -> None:
        error = answers.pop(0)
        if error is not None:
            raise error

    desk = Desk(profile, RecordingCarrier(answer))
    one = desk.ask(first)
    assert desk.worker.run() == [Worked(one, "queued", "carrier.down")]
    assert desk.worker.run() == [Worked(one, "sent")]
    two = desk.ask(second)
    assert desk.worker.run() == [Worked(two, "failed", "carrier.refused")]
    assert desk.worker.run() == []


def test_only_sellers_ask_and_only_for_their_leads(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk = Desk(profile)
    with pytest.raises(AccessDenied):
        desk.relay.request(profile.token(MATCHMAKER, "sales.pool"), one, "call")
    other = Actor("u-18", role="matchmaker", attributes={"store": "sh-01"})
    assert why(desk, one, other) == "lead.missing"
    with pytest.raises(AccessDenied), profile.store.session(profile.token(other, "sales.outreach")) as session:
        session.scalars(sa.select(ContactRequest)).all()


def test_texts_are_approved_ones_and_carry_no_numbers(profile: Profile) -> None:
    [one] = held(profile, 1)
    desk, token = Desk(profile), profile.token(MATCHMAKER, "sales.outreach")
    good = {"salutation": "王女士", "store": "上海一店", "day": "周六下午三点"}
    for wrong in (
        {"template": None},
        {"template": "anything goes"},
        {"template": "event", "values": {"salutation": "王女士"}},
        {"template": "event", "values": {**good, "day": "加我微信"}},
        {"template": "event", "values": {**good, "day": "１３８ 1234 5678"}},
        {"template": "event", "values": {**good, "day": "t点cn/x"}},
    ):
        with pytest.raises(UnsupportedOperation) as refused:
            desk.relay.request(token, one, "text", **wrong)  # type: ignore[arg-type]
        assert "1234" not in str(refused.value)
    with pytest.raises(UnsupportedOperation):
        desk.relay.request(token, one, "call", template="event", values=good)
    request = desk.relay.request(token, one, "text", template="event", values=good)
    desk.worker.run()
    assert isinstance(desk.carrier, RecordingCarrier)
    text = desk.carrier.placed[str(request.id)].text
    assert text is not None
    assert "王女士" in text
    assert "不需要" in text


@pytest.mark.parametrize(
    "text",
    [
        "138 1234 5678", "一三八一二三四五六七八", "１３８－１２３４－５６７８", "https://a.b", "www.x",
        "a b.com", "x@y", "加V", "QQ", "v\u200bx1", "x{y}",
    ],
)  # fmt: skip
def test_free_text_with_a_way_out_is_found(text: str) -> None:
    assert carries(text)


@pytest.mark.parametrize("text", ["王女士", "周六下午三点", "12月24日 19:00", "上海人民路二店", "2026年12月24日", ""])
def test_free_text_without_one_is_not(text: str) -> None:
    assert not carries(text)


def test_approved_texts_say_how_to_say_no() -> None:
    assert all("不需要" in text for text in Templates().texts.values())


def test_workers_at_once_place_each_contact_once(profile: Profile) -> None:
    ids = held(profile, 10)
    desk = Desk(profile)
    asked = [str(desk.ask(one)) for one in ids]
    workers = [threading.Thread(target=desk.worker.run) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert isinstance(desk.carrier, RecordingCarrier)
    assert sorted(desk.carrier.asked) == sorted(asked)
    assert {state for state, _ in rows(profile)} == {"sent"}


@contextmanager
def http_carrier(statuses: list[int]) -> Iterator[tuple[str, list[tuple[str, str, dict[str, object]]]]]:
    """A real carrier on this machine, which answers as told; and what it was sent."""
    seen: list[tuple[str, str, dict[str, object]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.headers["Idempotency-Key"], self.headers["Authorization"], body))
            self.send_response(statuses.pop(0) if statuses else 202)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/calls", seen
    finally:
        server.shutdown()
        server.server_close()


def test_a_webhook_carrier_is_told_the_idempotency_key(profile: Profile) -> None:
    [one] = held(profile, 1)
    with http_carrier([503, 409]) as (url, seen):
        desk = Desk(profile, WebhookCarrier(url, bearer="s3cret"))
        request = desk.ask(one)
        assert desk.worker.run() == [Worked(request, "queued", "carrier.down")]
        assert desk.worker.run() == [Worked(request, "sent")]
    assert [key for key, _, _ in seen] == [str(request)] * 2
    assert seen[0][1] == "Bearer s3cret"
    assert seen[0][2] == {"channel": "call", "number": "13800000000", "text": None}


@pytest.mark.parametrize(("status", "error"), [(302, CarrierRefused), (400, CarrierRefused), (429, CarrierDown)])
def test_a_webhook_carriers_answers(status: int, error: type[Exception]) -> None:
    with http_carrier([status]) as (url, seen), pytest.raises(error) as raised:
        WebhookCarrier(url).place(Contact("k", "call", "13812345678"))
    assert len(seen) == 1
    assert "138" not in str(raised.value)


def test_a_webhook_carrier_goes_through_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_carrier([202]) as (url, seen), http_carrier([202]) as (proxy, through):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.rpartition("/")[0])
        monkeypatch.delenv("no_proxy", raising=False)
        WebhookCarrier(url).place(Contact("k", "call", "13812345678"))
    assert (len(seen), through) == (1, [])


def test_a_webhook_carrier_nobody_answers_at_and_one_in_the_clear() -> None:
    with pytest.raises(CarrierDown):
        WebhookCarrier("http://127.0.0.1:9/", timeout=0.5).place(Contact("k", "call", "13812345678"))
    for url in ("http://carrier.example/", "ftp://127.0.0.1/", "carrier"):
        with pytest.raises(SettingsError):
            WebhookCarrier(url)


def _killed_until_sent(profile: Profile, seed: int) -> None:
    dice, desk = random.Random(seed), Desk(profile)
    asked = sorted(str(desk.ask(one)) for one in held(profile, 8))
    for attempt in range(60):
        ready = profile.folder / f"ready-{attempt}"
        arguments = [str(profile.folder), str(100 * attempt), str(ready)]
        process = subprocess.Popen([sys.executable, "-m", "tests.support.relay_process", *arguments])
        while not ready.exists() and process.poll() is None:
            clocks.sleep(0.005)
        try:
            process.wait(dice.uniform(0.0, 0.4))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:
            assert process.returncode == 0
        if {state for state, _ in rows(profile)} == {"sent"}:
            break
    assert rows(profile) == [("sent", None)] * 8
    assert sorted((profile.folder / "placed").read_text().split()) == asked


@pytest.mark.parametrize("seed", [3, 4])
def test_a_worker_that_is_killed_loses_and_doubles_nothing(profile: Profile, seed: int) -> None:
    if profile.name == "embedded":
        _killed_until_sent(profile, seed)
    else:  # a worker that dies between mark and answer leaves the mark; the next one takes it up
        desk = Desk(profile)
        request = desk.ask(held(profile, 1)[0])
        assert desk.worker._take() is not None
        assert desk.worker.run() == []
        desk.ahead = timedelta(seconds=91)
        assert desk.worker.run() == [Worked(request, "sent")]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 200 + often(30)))
def test_a_worker_that_is_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    from tests.support.profiles import embedded

    with embedded(tmp_path) as profile:
        _killed_until_sent(profile, seed)
