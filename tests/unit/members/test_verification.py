"""The real-name check on an embedded store: yes, no, and nothing to be learned from how no is said."""

from __future__ import annotations

import http.server
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.chat_scene import ID, NAME, SECRET, VERIFIER, register
from tests.support.members import CountedKeys
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, BudgetExhausted, SearchDenied, SettingsError
from vaultstore.grants import Grant
from vaultstore.members import Member
from vaultstore.members.identity_proof import identity_proof, name_form
from vaultstore.members.lookups import HttpLookup, Lookup, LookupRequest, LookupUnavailable, RecordingLookup
from vaultstore.members.models import VerificationCount, VerifiedBadge
from vaultstore.members.services import MemberServices
from vaultstore.members.verification import Verification, Verified
from vaultstore.members.verification_limits import VerificationLimits, Window

WIDE = VerificationLimits(member=(Window(1000, 1),), actor=(Window(1000, 1),), number=(Window(1000, 1),))
OTHER_ID = "110105194912310038"


def token(store: Store, actor: Actor = VERIFIER) -> str:
    return store.issue(actor, "identity.verification")


def checker(store: Store, **options: Any) -> Verification:
    return Verification(store, secret=SECRET, **{"limits": WIDE, **options})


@pytest.fixture
def who(store: Store) -> uuid.UUID:
    [member] = register(store, 1, id_number=ID, name=NAME)
    return member


def test_name_and_number_on_file_are_confirmed(store: Store, who: uuid.UUID) -> None:
    answer = checker(store).check(token(store), who, ID, NAME)
    assert answer.matched and answer.badge is not None and answer.badge.member == who
    assert checker(store).badge(token(store), who) == answer.badge
    mine = store.issue(Actor(str(who), role="member"), "member.self", subjects=[who])
    assert checker(store).badge(mine, who) == answer.badge


@pytest.mark.parametrize("spelled", [ID.lower(), " 110105 19491231 002x", "１１０１０５１９４９１２３１００２Ｘ"])
@pytest.mark.parametrize("name", [NAME, " 欧阳 晨秀 ", "欧阳·晨秀"])
def test_spelling_does_not_matter(store: Store, who: uuid.UUID, spelled: str, name: str) -> None:
    assert checker(store).check(token(store), who, spelled, name).matched


def mismatches(store: Store, who: uuid.UUID) -> dict[str, tuple[uuid.UUID, str, str]]:
    [other] = register(store, 1, id_number=OTHER_ID, name="张伟")
    [without] = register(store, 1, name=NAME)
    return {
        "wrong number": (who, OTHER_ID, NAME),
        "wrong name": (who, ID, "张伟"),
        "both of somebody else": (who, OTHER_ID, "张伟"),
        "somebody else's member": (other, ID, NAME),
        "nothing on file": (without, ID, NAME),
        "unknown member": (uuid.uuid4(), ID, NAME),
        "no number": (who, "12345", NAME),
        "empty": (who, "", ""),
    }


def test_every_mismatch_has_one_answer_and_takes_the_same_requests(
    store: Store, who: uuid.UUID, keys: CountedKeys
) -> None:
    cases = mismatches(store, who)
    check = checker(store)
    check.check(token(store), who, ID, NAME)
    told = set()
    for name, (member, number, given) in cases.items():
        keys.requests.clear()
        answer = check.check(token(store), member, number, given)
        told.add((answer, answer.text, tuple(sorted(keys.requests.items()))))
        assert answer == Verified(False), name
    assert len(told) == 1, told
    [(_, _, requests)] = told
    assert requests == (("hmac members.identity_proof", 1),)


def test_a_mismatch_leaves_no_badge(store: Store, who: uuid.UUID) -> None:
    for member, number, name in mismatches(store, who).values():
        checker(store).check(token(store), member, number, name)
    with store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(VerifiedBadge.__table__)) == 0


# ------------------------------------------------------------------------------------------------------ guessing


def refused_after(check: Verification, tokens: list[str], members: list[uuid.UUID], numbers: list[str]) -> int:
    done = 0
    for n in range(100):
        try:
            check.check(tokens[n % len(tokens)], members[n % len(members)], numbers[n % len(numbers)], NAME)
        except BudgetExhausted:
            return done
        done += 1
    return done


def enumerated() -> list[str]:
    """The numbers of everybody who was born there on that day (GB 11643: the last digit checks the others)."""
    weights, checks = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), "10X98765432"
    bodies = [f"11010519491231{n:03}" for n in range(120)]
    return [b + checks[sum(int(d) * w for d, w in zip(b, weights, strict=True)) % 11] for b in bodies]


def test_last_digits_can_not_be_tried_on_a_member_by_however_many_actors(store: Store, who: uuid.UUID) -> None:
    actors = [token(store, Actor(f"v-{n}", role="verifier")) for n in range(20)]
    check = checker(store, limits=VerificationLimits(actor=(Window(1000, 1),)))
    assert refused_after(check, actors, [who], enumerated()) == 5


def test_a_number_can_not_be_tried_on_one_member_after_the_other(store: Store) -> None:
    members = [uuid.uuid4() for _ in range(20)]
    actors = [token(store, Actor(f"v-{n}", role="verifier")) for n in range(20)]
    assert refused_after(checker(store, limits=VerificationLimits()), actors, members, [ID, ID.lower()]) == 5


def test_an_actor_tries_so_many_and_no_more(store: Store) -> None:
    members, numbers = [uuid.uuid4() for _ in range(100)], enumerated()
    check = checker(store, limits=VerificationLimits(actor=(Window(7, 1),)))
    assert refused_after(check, [token(store)], members, numbers) == 7


def test_the_right_answer_after_too_many_wrong_ones_is_no_answer(store: Store, who: uuid.UUID) -> None:
    check = checker(store, limits=VerificationLimits())
    for number in enumerated()[10:15]:
        assert not check.check(token(store), who, number, NAME).matched
    with pytest.raises(BudgetExhausted):
        check.check(token(store), who, ID, NAME)


def test_a_window_ends_and_the_longer_one_goes_on(store: Store, who: uuid.UUID) -> None:
    now = [datetime(2026, 1, 5, tzinfo=UTC)]
    limits = VerificationLimits(member=(Window(2, 1), Window(3, 30)), number=(Window(99, 1),))
    check = checker(store, limits=limits, clock=lambda: now[0])
    for _ in range(2):
        check.check(token(store), who, OTHER_ID, NAME)
    with pytest.raises(BudgetExhausted):
        check.check(token(store), who, ID, NAME)
    now[0] += timedelta(days=1)
    with pytest.raises(BudgetExhausted):  # what was refused counts too
        check.check(token(store), who, ID, NAME)
    now[0] += timedelta(days=60)
    assert check.check(token(store), who, ID, NAME).matched
    assert check.sweep(token(store)) > 0


def test_an_attempt_counts_whatever_happens_after_it(store: Store, who: uuid.UUID, keys: CountedKeys) -> None:
    check = checker(store, limits=VerificationLimits())
    keys.fail_at = "hmac members.identity_proof"
    for _ in range(5):
        with pytest.raises(Exception, match="order"):
            check.check(token(store), who, ID, NAME)
    keys.fail_at = None
    with pytest.raises(BudgetExhausted):
        check.check(token(store), who, ID, NAME)


def test_counters_hold_neither_number_nor_member(store: Store, who: uuid.UUID) -> None:
    checker(store).check(token(store), who, ID, NAME)
    with store.engine.connect() as connection:
        rows = connection.execute(select(VerificationCount.__table__)).all()
    assert rows
    assert not any(ID in str(row) or who.hex in str(row).replace("-", "") or VERIFIER.id in str(row) for row in rows)


def test_the_verifiers_token_searches_neither_numbers_nor_names(store: Store, who: uuid.UUID) -> None:
    with store.session(token(store)) as session:
        for condition in (Member.id_number == ID, Member.phone == "13800000000"):
            with pytest.raises(SearchDenied):
                session.scalars(select(Member.id).where(condition)).all()
        member = session.get_one(Member, who)
        for field in ("name", "id_number", "identity_proof", "phone"):
            with pytest.raises(AccessDenied):
                getattr(member, field)


@pytest.mark.parametrize(
    ("role", "purpose"), [("registrar", "registration"), ("courier", "chat.delivery"), ("verifier", "identity.lookup")]
)
def test_the_check_is_the_verifiers(store: Store, who: uuid.UUID, role: str, purpose: str) -> None:
    given = [who] if purpose == "identity.lookup" else None
    with pytest.raises(AccessDenied) as error:
        checker(store).check(store.issue(Actor("x", role=role), purpose, subjects=given), who, ID, NAME)
    assert error.value.reason == "not.granted"


# --------------------------------------------------------------------------------------------- what is compared


def test_a_corrected_name_is_compared_from_then_on(store: Store, who: uuid.UUID) -> None:
    officer = Actor("privacy-1", role="privacy_officer")
    case = store.cases.open("correction", assigned_to=officer.id, subjects=[who])
    with store.begin(store.issue(officer, "privacy.request", case=case, subjects=[who])) as session:
        session.get_one(Member, who).name = "欧阳晨曦"
    check = checker(store)
    assert not check.check(token(store), who, ID, NAME).matched
    assert check.check(token(store), who, ID, "欧阳晨曦").matched
    assert check.withdraw(token(store), who)
    assert check.badge(token(store), who) is None
    assert not check.withdraw(token(store), who)


def test_a_proof_takes_both() -> None:
    assert identity_proof(NAME, None) is identity_proof("", ID) is identity_proof(None, ID) is None
    assert identity_proof(NAME, ID) == identity_proof("欧阳 晨秀", ID.lower())
    assert name_form("阿卜杜拉·买买提") == name_form("阿卜杜拉•买买提")


def test_no_repr_tells_anything() -> None:
    request = LookupRequest("r", NAME, ID)
    shown = f"{request!r} {RecordingLookup((NAME, ID))!r} {HttpLookup('https://lookup.example/x', token='t0p')!r}"
    assert NAME not in shown and ID not in shown and "t0p" not in shown


# ---------------------------------------------------------------------------------------------- the third party


def with_lookup(store: Store, lookup: Lookup, **options: Any) -> Verification:
    def ask(grant: Grant, member: uuid.UUID) -> str:
        return store.issue(grant.actor, "identity.lookup", subjects=[member])

    return checker(store, lookup=lookup, lookup_token=ask, **options)


def test_the_third_party_is_asked_with_consent_and_of_matches_only(store: Store, who: uuid.UUID) -> None:
    lookup = RecordingLookup((NAME, ID))
    check = with_lookup(store, lookup)
    assert not check.check(token(store), who, ID, NAME).matched
    assert lookup.asked == []
    store.consents.grant(who, "realname", notice_version="2026-01")
    assert not check.check(token(store), who, OTHER_ID, NAME).matched
    assert lookup.asked == []
    assert check.check(token(store), who, ID, NAME).matched
    assert len(lookup.asked) == 1 and who.hex not in lookup.asked[0]
    store.consents.withdraw(who, "realname")
    assert not check.check(token(store), who, ID, NAME).matched
    assert len(lookup.asked) == 1


@pytest.mark.parametrize("why", ["unknown there", "down"])
def test_what_the_third_party_does_not_confirm_is_a_mismatch_like_any_other(
    store: Store, who: uuid.UUID, why: str
) -> None:
    slept: list[float] = []
    lookup = RecordingLookup(timeout=3.0)
    lookup.down = why == "down"
    check = with_lookup(store, lookup, timer=lambda: 0.0, sleep=slept.append)
    store.consents.grant(who, "realname", notice_version="2026-01")
    answers = [check.check(token(store), who, *given) for given in ((ID, NAME), (OTHER_ID, NAME), (ID, "张伟"))]
    assert answers == [Verified(False)] * 3
    assert slept == [3.0] * 3  # all of them end at the same time
    assert check.badge(token(store), who) is None


class _Register(http.server.BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b'{"match": true}')
    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append({**body, "auth": self.headers["Authorization"], "key": self.headers["Idempotency-Key"]})
        status, content = type(self).answer
        self.send_response(status)
        if status in (301, 302, 307):
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


Office = tuple[type[_Register], str]


@pytest.fixture
def register_office() -> Iterator[Office]:
    handler = type("Handler", (_Register,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_address[1]}/check"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_http_lookup_asks_a_server(register_office: Office) -> None:
    handler, url = register_office
    lookup = HttpLookup(url, token="t0p", timeout=2.0)
    assert lookup.confirms(LookupRequest("r-1", NAME, ID))
    assert handler.seen == [{"reference": "r-1", "name": NAME, "id_number": ID, "auth": "Bearer t0p", "key": "r-1"}]
    handler.answer = (200, b'{"match": false}')
    assert not lookup.confirms(LookupRequest("r-2", NAME, ID))


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (302, b""), (200, b""), (200, b"yes"), (200, b"[true]"), (200, b'{"match": 1}'),
     (200, b'{"match": "true"}'), (200, b"[" * 4000), (200, b'{"match": true}' + b" " * 5000)],
)  # fmt: skip
def test_an_answer_that_is_none_is_no_yes(
    register_office: tuple[type[_Register], str], answer: tuple[int, bytes]
) -> None:
    handler, url = register_office
    handler.answer = answer
    with pytest.raises(LookupUnavailable) as error:
        HttpLookup(url, timeout=2.0).confirms(LookupRequest("r-1", NAME, ID))
    assert NAME not in str(error.value) and ID not in str(error.value)


def test_a_server_that_is_not_there_is_no_yes() -> None:
    with pytest.raises(LookupUnavailable):
        HttpLookup("http://127.0.0.1:9/", timeout=1.0).confirms(LookupRequest("r", NAME, ID))
    for url in ("http://lookup.example/", "ftp://127.0.0.1/", "lookup.example", "file:///etc/passwd"):
        with pytest.raises(SettingsError):
            HttpLookup(url)


def test_the_services_come_together(store: Store, who: uuid.UUID) -> None:
    desk = Actor("desk", role="safety_desk")
    services = MemberServices(store, secret=SECRET, safety_desk=lambda: store.issue(desk, "safety.desk"))
    assert services.verification.check(token(store), who, ID, NAME).matched
    assert not services.safety.is_blocked(who)
    assert "secret" not in repr(services)
