"""Personal data out of what we store, secrets out of what we print."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from b2b_pipeline import privacy
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.privacy import EXCLUDED_BY, Pseudonyms, SecretFilter, keep_secret, mask, names_somebody

KEY = b"a key of this test"
ANN = "ann@example.com"


@pytest.fixture
def people(tmp_path: Path) -> Pseudonyms:
    return Pseudonyms(KEY, tmp_path / "landing" / "forgotten.json", ["QA+test*@*"])


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_known_secrets", set())
    monkeypatch.delenv("B2B_HASH_KEY", raising=False)


def applied(people: Pseudonyms, record: dict[str, Any], *paths: str) -> dict[str, Any]:
    return people.apply(record, paths)


# -- people


@pytest.mark.parametrize("spelling", ["ANN@example.com", " ann@Example.COM\n", "\tAnn@example.com "])
def test_the_same_address_has_the_same_hash_however_it_is_written(spelling: str, people: Pseudonyms) -> None:
    assert people.email(spelling) == people.email(ANN)


def test_a_hash_tells_the_domain_and_nothing_else_of_the_address(people: Pseudonyms) -> None:
    hashed = people.email(ANN)
    assert hashed.startswith("h1:")
    assert hashed.endswith("@example.com")
    assert "ann@" not in hashed
    assert len(hashed) == len("h1:") + 32 + len("@example.com")
    assert people.email("bob@example.com") != hashed


def test_another_key_gives_other_hashes(people: Pseudonyms, tmp_path: Path) -> None:
    assert Pseudonyms(b"another", tmp_path / "none").email(ANN) != people.email(ANN)


def test_free_text_is_hashed_whole_and_trimmed(people: Pseudonyms) -> None:
    record = applied(people, {"name": " Ann Example ", "phone": 441632960001, "note": "Ann <ann@example.com>"}, "*")
    assert record["name"] == people.text("Ann Example")
    assert record["phone"] == people.text("441632960001")
    assert all(value.startswith("h1:") and "@" not in value for value in record.values())


def test_personal_fields_are_found_in_nested_objects_lists_and_behind_a_star(people: Pseudonyms) -> None:
    record: dict[str, Any] = {
        "id": "7",
        "properties": {"email": ANN, "city": "Ulm"},
        "identities": [{"type": "EMAIL", "value": ANN}, {"type": "PHONE", "value": "1"}],
        "emails": [ANN, ["bob@example.com"], None, ""],
        "history": {"email": [{"value": "old@example.com", "at": 1}], "phone": [{"value": "2", "at": 2}]},
    }
    paths = ("properties.email", "identities.value", "emails", "history.*.value", "missing.email", "id.email")
    assert applied(people, record, *paths) == {
        "id": "7",
        "properties": {"email": people.email(ANN), "city": "Ulm"},
        "identities": [{"type": "EMAIL", "value": people.email(ANN)}, {"type": "PHONE", "value": people.text("1")}],
        "emails": [people.email(ANN), [people.email("bob@example.com")], None, ""],
        "history": {
            "email": [{"value": people.email("old@example.com"), "at": 1}],
            "phone": [{"value": people.text("2"), "at": 2}],
        },
    }


@pytest.mark.parametrize(
    "text",
    [
        "call {} back", "<{}>", "mailto:{}", "'{}',", "Ida Holm ({}).", "name={};x", "https://x.example/?email={}&b=c",
        "wrote:\n{}\nbye", "{} and {}", "utm_content=\"{}\"", "→{}←",
    ],
)  # fmt: skip
@pytest.mark.parametrize("spelling", ["ida.holm@holm.example", "Ida.Holm@Holm.Example", "ida.holm%40holm.example"])
def test_an_address_anywhere_in_text_becomes_the_persons_own_hash(text: str, spelling: str, people: Pseudonyms) -> None:
    pseudonym = people.email("ida.holm@holm.example")
    assert people.scrub({"a": [{"b": text.replace("{}", spelling)}]}) == {"a": [{"b": text.replace("{}", pseudonym)}]}
    assert names_somebody(text.replace("{}", spelling))
    assert not names_somebody(text.replace("{}", pseudonym))


@pytest.mark.parametrize("text", ["5 @ 3 EUR", "@holm", "ida@", "a@b", "50%40", f"h1:{'0f' * 16}@x.y"])
def test_text_without_an_address_stays_as_it_is(text: str, people: Pseudonyms) -> None:
    assert people.scrub(text) == text


def test_a_plus_of_an_address_in_a_url_is_read_as_one(people: Pseudonyms) -> None:
    assert people.scrub("?e=ida%2Bnews%40holm.example") == "?e=" + people.email("ida+news@holm.example")


def test_empty_fields_stay_empty(people: Pseudonyms) -> None:
    record: dict[str, Any] = {"email": None, "name": "", "none": {}}
    assert applied(people, dict(record), "email", "name", "none.email") == record


def test_what_is_hashed_already_stays(people: Pseudonyms) -> None:
    once = applied(people, {"email": ANN, "name": "Ann"}, "email", "name")
    assert applied(people, dict(once), "email", "name") == once


def test_what_only_looks_hashed_is_hashed(people: Pseudonyms) -> None:
    record = applied(people, {"name": "h1:Ann Example", "email": "h1:ann@example.com"}, "name", "email")
    assert record == {"name": people.text("h1:Ann Example"), "email": people.email("h1:ann@example.com")}


def test_an_address_that_is_excluded_is_marked_before_nobody_can_tell(people: Pseudonyms) -> None:
    assert applied(people, {"email": " Qa+Test7@example.com"}, "email")[EXCLUDED_BY] == "qa+test*@*"
    assert EXCLUDED_BY not in applied(people, {"email": ANN}, "email")


# -- forgetting


def test_a_forgotten_person_gets_a_token_without_hash_and_domain_on_every_later_pull(people: Pseudonyms) -> None:
    before = people.email(ANN)
    people.forget("Ann@Example.com ")
    token = people.email(ANN)
    assert token == people.email(" ANN@example.com")
    assert before[3:35] not in token
    assert "@" not in token
    assert people.email("bob@example.com").endswith("@example.com")


def test_a_forgotten_persons_record_keeps_nothing_personal_but_the_token(people: Pseudonyms) -> None:
    people.forget(ANN, "email_domains")
    record = applied(people, {"id": 7, "email": ANN, "name": "Ann", "to": "bob@example.com"}, "email", "name", "to")
    bob = people.email("bob@example.com")
    assert record == {"id": 7, "email": people.forget_token(ANN), "name": None, "to": bob, EXCLUDED_BY: "email_domains"}


def test_another_process_learns_who_was_forgotten(people: Pseudonyms, tmp_path: Path) -> None:
    path = tmp_path / "landing" / "forgotten.json"
    other = Pseudonyms(KEY, path)
    people.forget(ANN)
    assert other.reload()
    assert not other.reload()
    assert other.email(ANN) == people.email(ANN)
    assert ANN not in path.read_text()


def test_people_forgotten_at_the_same_time_are_all_forgotten(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from b2b_pipeline.privacy import Pseudonyms\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(20): Pseudonyms(b'key', Path(sys.argv[1])).forget(f'{sys.argv[2]}{n}@example.com')\n"
    )
    path = tmp_path / "landing" / "forgotten.json"
    together([sys.executable, "-c", program, str(path)], ["ann"], ["bob"])
    assert len(json.loads(path.read_text())) == 40


# -- the key


def together(command: list[str], *arguments: list[str]) -> list[str]:
    """What the processes print that do the same at the same moment."""
    children = [subprocess.Popen([*command, *more], stdin=-1, stdout=-1, text=True) for more in arguments]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    printed = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return printed


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = Pseudonyms.of_home(home)
    assert not home.exists()  # not before something is hashed
    first.text("x")
    assert stat.S_IMODE((home / "hash.key").stat().st_mode) == 0o600
    assert len((home / "hash.key").read_bytes()) == 64
    assert [path.name for path in home.iterdir()] == ["hash.key"]
    assert Pseudonyms.of_home(home).email(ANN) == first.email(ANN)


def test_a_fingerprint_tells_keys_apart_and_is_no_part_of_them(people: Pseudonyms, tmp_path: Path) -> None:
    assert people.fingerprint == Pseudonyms(KEY, tmp_path / "none").fingerprint
    assert people.fingerprint != Pseudonyms(b"another", tmp_path / "none").fingerprint
    assert people.fingerprint not in KEY.decode() + KEY.hex()


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from b2b_pipeline.privacy import Pseudonyms\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print({n: Pseudonyms.of_home(Path(sys.argv[1]) / str(n)).text('x') for n in range(100)})\n"
    )
    one, other = together([sys.executable, "-c", program, str(tmp_path)], [], [])
    assert one == other


def test_threads_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for n in range(10):
            homes = [tmp_path / str(n)] * 8
            assert len(set(pool.map(lambda home: Pseudonyms.of_home(home).text("x"), homes))) == 1


def test_a_key_of_the_environment_is_used_and_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HASH_KEY", KEY.decode())
    given = Pseudonyms.of_home(tmp_path / "home")
    assert given.email(ANN) == Pseudonyms(KEY, tmp_path / "none").email(ANN)
    assert not (tmp_path / "home").exists()


def test_the_made_key_moved_into_the_environment_gives_the_same_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Pseudonyms.of_home(tmp_path).text("x")
    monkeypatch.setenv("B2B_HASH_KEY", (tmp_path / "hash.key").read_text())
    assert Pseudonyms.of_home(tmp_path).text("x") == made


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hash.key").write_text("\n")
    with pytest.raises(ConfigError, match=r"hash\.key is empty"):
        Pseudonyms.of_home(tmp_path).text("x")


# -- secrets


def test_secrets_are_masked_as_they_are_and_as_in_a_url() -> None:
    keep_secret("to/ken 1=")
    assert mask("a to/ken 1= b ?t=to%2Fken%201%3D c t=to%2Fken+1%3D") == "a *** b ?t=*** c t=***"


def test_a_secret_that_begins_another_leaves_nothing_of_it() -> None:
    for secret in ("token-", "token-2", "token-2-longer"):
        keep_secret(secret)
    assert mask("token-2-longer token-2") == "*** ***"


def test_what_is_too_short_to_be_a_secret_masks_nothing() -> None:
    keep_secret("")
    keep_secret("demo")
    assert mask("a demo") == "a demo"


@pytest.fixture
def log() -> tuple[logging.Logger, StringIO]:
    logger, written = logging.Logger("test"), StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(SecretFilter())
    logger.addHandler(handler)
    keep_secret("topsecret")
    return logger, written


def test_log_lines_hold_no_secret_in_message_arguments_or_stack(log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log
    logger.warning("plain topsecret")
    logger.warning("asked %s of %d", "topsecret", 3)
    logger.handle(logger.makeRecord("test", logging.ERROR, "", 1, "where", (), None, sinfo="in topsecret()"))
    assert written.getvalue() == "plain ***\nasked *** of 3\nwhere\nin ***()\n"


def test_a_traceback_in_the_log_holds_no_secret(log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log
    try:
        try:
            raise KeyError("topsecret")
        except KeyError as error:
            raise RuntimeError("GET /?token=topsecret") from error
    except RuntimeError:
        logger.exception("failed")
    text = written.getvalue()
    assert "KeyError: '***'" in text
    assert "RuntimeError: GET /?token=***" in text
    assert "test_privacy.py" in text


def test_every_handler_sees_the_masked_traceback_whatever_formatter_it_has(
    log: tuple[logging.Logger, StringIO],
) -> None:
    logger, _ = log
    try:
        raise RuntimeError("topsecret")
    except RuntimeError:
        record = logger.makeRecord("test", logging.ERROR, "", 1, "failed", (), sys.exc_info())
    assert SecretFilter().filter(record)
    assert record.exc_info is None
    assert "RuntimeError: ***" in (record.exc_text or "")


def test_a_traceback_without_a_secret_stays_as_it_was() -> None:
    try:
        raise RuntimeError("harmless")
    except RuntimeError:
        record = logging.Logger("test").makeRecord("test", logging.ERROR, "", 1, "failed", (), sys.exc_info())
    before = record.exc_info
    SecretFilter().filter(record)
    assert record.exc_info is before


def test_a_log_line_whose_arguments_do_not_fit_harms_nobody() -> None:
    keep_secret("topsecret")
    record = logging.Logger("test").makeRecord("test", logging.ERROR, "", 1, "%d %d", ("topsecret",), None)
    assert SecretFilter().filter(record)
    assert record.getMessage() == "%d %d ('***',)"
