"""Signing: each side reads what the other signed; all else is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery.security.certificate import Certificate as CeleryCertificate
from celery.security.certificate import FSCertStore
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App
from taskctl.core import security
from taskctl.core.errors import ContentDisallowed, EncodeError, ImproperlyConfigured, SecurityError
from taskctl.core.wire import codecs, trust
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.signed import Signed, pack_signed, unpack_signed
from taskctl.serialization import loads

from .support.signing import Party, make_party


class Parties(NamedTuple):
    """Two who trust each other, one whom nobody knows, and one whose time is over."""

    folder: Path
    one: Party
    two: Party
    stranger: Party
    expired: Party
    locked: Party

    @property
    def store(self) -> Path:
        return self.folder / "trusted"


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    folder = tmp_path_factory.mktemp("parties")
    (folder / "trusted").mkdir()
    made = Parties(
        folder,
        make_party(folder, "one"),
        make_party(folder, "two"),
        make_party(folder, "stranger"),
        make_party(folder, "expired", days=-1),
        make_party(folder, "locked", password=b"geheim"),
    )
    for party in (made.one, made.two, made.expired, made.locked):
        shutil.copy(party.certificate, made.store)
    return made


@pytest.fixture(autouse=True)
def nobody_signs() -> Iterator[None]:
    yield
    if "auth" in codecs.CODECS:
        codecs.unregister("auth")
    trust._distrusted.clear()


def _app(parties: Parties, party: Party | None = None, **settings: Any) -> App:
    party = party or parties.one
    return App("signed", set_as_current=False, **{**party.settings(parties.store), **settings})


def _files(parties: Parties, party: Party, **changes: Any) -> security.KeyFiles:
    files = security.KeyFiles(
        str(party.key), None, str(party.certificate), str(parties.store), "sha256"
    )
    return files._replace(**changes)


def _celerys(parties: Parties, party: Party, **options: Any) -> SecureSerializer:
    trusted = parties.folder / "celerys"
    if not trusted.exists():  # Celery's store refuses to start beside an expired one
        trusted.mkdir()
        for each in (parties.one, parties.two):
            shutil.copy(each.certificate, trusted)
    return SecureSerializer(
        PrivateKey(party.key.read_bytes()),
        CeleryCertificate(party.certificate.read_text()),
        FSCertStore(str(trusted)),
        **options,
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def test_what_either_library_signs_the_other_reads(parties: Parties) -> None:
    ours = _files(parties, parties.one).signer("json")
    theirs = _celerys(parties, parties.two)

    @given(VALUES)
    def check(value: Any) -> None:
        assert theirs.deserialize(ours.encode(value)) == value
        assert ours.decode(theirs.serialize(value).encode()) == value

    check()


@pytest.mark.parametrize("digest", ["sha512", "sha3_256"])
def test_both_take_the_digest_by_the_same_name(parties: Parties, digest: str) -> None:
    ours = _files(parties, parties.one, digest=digest).signer("json")
    theirs = _celerys(parties, parties.two, digest=digest)

    assert theirs.deserialize(ours.encode([1])) == [1]
    assert ours.decode(theirs.serialize([2]).encode()) == [2]
    with pytest.raises(SecurityError, match="another digest than sha256"):
        _files(parties, parties.one).signer("json").decode(theirs.serialize([2]).encode())


@given(st.builds(Signed, st.text(), st.binary(), st.just("a/b"), st.just("utf-8"), st.binary()))
def test_a_signed_body_comes_out_of_its_text_as_it_went_in(signed: Signed) -> None:
    assert unpack_signed(pack_signed(signed)) == signed


@given(st.binary())
def test_bytes_that_are_not_signed_are_refused_in_one_line(data: bytes) -> None:
    try:
        unpack_signed(data)
    except SecurityError as exc:
        assert "\n" not in str(exc)


def test_no_byte_of_body_signer_or_signature_may_change(parties: Parties) -> None:
    signer = _files(parties, parties.one).signer("json")
    good = unpack_signed(signer.encode([[1], {}, {}]))

    for place in range(len(good.body)):
        with pytest.raises(SecurityError, match="bad signature"):
            signer.decode(pack_signed(good._replace(body=_flipped(good.body, place))))
    for place in range(0, len(good.signature), 16):
        with pytest.raises(SecurityError, match="bad signature"):
            signer.decode(pack_signed(good._replace(signature=_flipped(good.signature, place))))
    other = _files(parties, parties.two).signer("json")
    theirs = unpack_signed(other.encode([[1], {}, {}])).signer
    with pytest.raises(SecurityError, match="bad signature: the body is not what 'two"):
        signer.decode(pack_signed(good._replace(signer=theirs)))


def _flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def test_a_signer_whom_nobody_knows_or_whose_time_is_over_is_refused(parties: Parties) -> None:
    signer = _files(parties, parties.one).signer("json")
    stranger = _celerys(parties, parties.stranger).serialize([1]).encode()
    expired = _celerys(parties, parties.expired).serialize([1]).encode()

    with pytest.raises(SecurityError, match=r"unknown certificate 'stranger \d+': it is not in"):
        signer.decode(stranger)
    with pytest.raises(SecurityError, match=r"certificate 'expired \d+' \(.*\) expired at 20"):
        signer.decode(expired)


def test_a_certificate_may_be_added_while_a_program_runs(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(parties.one.certificate, tmp_path)
    signer = _files(parties, parties.one, store=str(tmp_path)).signer("json")
    theirs = _celerys(parties, parties.two).serialize("late").encode()
    with pytest.raises(SecurityError, match="unknown certificate"):
        signer.decode(theirs)

    shutil.copy(parties.two.certificate, tmp_path)
    monkeypatch.setattr(security, "_READ_AGAIN", 0.0)

    assert signer.decode(theirs) == "late"


def test_pickle_inside_a_signature_must_be_asked_for(parties: Parties) -> None:
    theirs = _celerys(parties, parties.two, serializer="pickle").serialize({1, 2}).encode()

    with pytest.raises(ContentDisallowed, match="'application/x-python-serialize'"):
        _files(parties, parties.one).signer("json").decode(theirs)

    allowed = _files(parties, parties.one).signer("json", ["pickle"])
    assert allowed.decode(theirs) == {1, 2}


def test_an_app_signs_what_it_sends_and_takes_nothing_else(parties: Parties) -> None:
    app = _app(parties)
    app.setup_security()

    sent = app.producer.encode("proj.add", (1, 2), {}, {})
    accept = codecs.accepted_types(app.conf.accept_content)

    message = codecs.decode(_body_of(sent.envelope), "application/data", "utf-8", accept)
    assert message == [
        [1, 2],
        {},
        {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
    ]
    with pytest.raises(ContentDisallowed, match="not in accept_content"):
        codecs.decode(b"[[], {}, {}]", "application/json", "utf-8", accept)
    with pytest.raises(SecurityError, match="is not signed"):
        codecs.decode(b"[[], {}, {}]", "application/data", "utf-8", accept)


def _body_of(envelope: bytes) -> bytes:
    return decode_envelope(envelope).body


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task_serializer": "json"}, "signing needs task_serializer = 'auth' and"),
        ({"accept_content": ["auth", "json"]}, r"they are 'auth' and \['auth', 'json'\]"),
        ({"security_key": None}, "signing messages needs the settings security_key$"),
        ({"security_key": "/nowhere"}, "cannot read private key '/nowhere': No such file"),
        ({"security_cert_store": "/nowhere/*"}, "'/nowhere/\\*' names no certificate"),
        ({"security_digest": "md5"}, "unknown security_digest 'md5': choose sha224"),
    ],
)
def test_what_is_missing_or_wrong_is_named_at_the_setup(
    parties: Parties, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        _app(parties, **changes).setup_security()

    assert "auth" not in codecs.CODECS


def test_files_that_do_not_fit_are_named(parties: Parties, tmp_path: Path) -> None:
    curve = make_party(tmp_path, "curve", curve=True)
    key, certificate = str(parties.one.key), str(parties.one.certificate)

    for changes, said in (
        ({"key": str(parties.two.key)}, "does not belong to the certificate"),
        ({"key": certificate}, "it is no key in PEM format"),
        ({"key": str(curve.key)}, "is no RSA key"),
        ({"certificate": key}, "holds no certificate in PEM format"),
        ({"certificate": str(curve.certificate)}, "is of no RSA key"),
        ({"store": str(parties.folder / "*.key")}, "holds no certificate in PEM format"),
    ):
        with pytest.raises(ImproperlyConfigured, match=said):
            _files(parties, parties.one, **changes).signer("json")
    with pytest.raises(ImproperlyConfigured, match=r"our own certificate .* expired at"):
        _files(parties, parties.expired).signer("json")


def test_the_password_of_a_key_opens_it_and_is_never_shown(parties: Parties) -> None:
    locked = _files(parties, parties.locked)
    with pytest.raises(ImproperlyConfigured, match="it needs security_key_password"):
        locked.signer("json")
    with pytest.raises(ImproperlyConfigured, match="the password is wrong") as wrong:
        locked._replace(password="falsch").signer("json")
    assert "falsch" not in str(wrong.value)

    assert locked._replace(password="geheim").signer("json").encode(1)
    app = _app(parties, parties.locked, security_key_password=b"geheim")
    app.setup_security()
    assert "geheim" not in app.conf.humanize() + app.bugreport()


def test_a_certificate_that_ends_while_a_program_runs_ends_its_calls_too(
    parties: Parties,
) -> None:
    files = _files(parties, parties.one)
    signer = files.signer("json")
    ended = security.read_certificate(str(parties.expired.certificate))
    signer._certificate = ended
    codecs.register("auth", signer.encode, signer.decode, "application/data")

    with pytest.raises(EncodeError, match="cannot sign: our own certificate 'expired"):
        codecs.encode([], "auth")


def test_auth_without_setup_says_what_to_call() -> None:
    app = App("unsigned", set_as_current=False, broker="memory://", task_serializer="auth")

    with pytest.raises(ImproperlyConfigured, match=r"call app\.setup_security"):
        app.send_task("proj.add")


def test_the_settings_stand_in_for_what_the_call_leaves_out(parties: Parties) -> None:
    app = _app(parties, security_key=None, security_certificate=None, security_cert_store=None)

    app.setup_security(
        key=str(parties.one.key),
        cert=str(parties.one.certificate),
        store=str(parties.store),
        digest="sha384",
    )

    with pytest.raises(SecurityError, match="another digest than sha384"):
        codecs.decode(
            _celerys(parties, parties.two).serialize(1).encode(), "application/data", "utf-8"
        )


def test_loads_reads_only_what_is_allowed_once_an_app_signs(parties: Parties) -> None:
    assert loads(b"[1]", "application/json", "utf-8") == [1]

    _app(parties).setup_security(allowed_serializers=["yaml"])

    assert loads(b"- 1\n", "application/x-yaml", "utf-8") == [1]
    with pytest.raises(ContentDisallowed, match="json': it was disabled here"):
        loads(b"[1]", "application/json", "utf-8")


def test_the_checks_of_settings_notice_open_keys_and_certificates_that_end(
    parties: Parties, tmp_path: Path
) -> None:
    key = tmp_path / "open.key"
    shutil.copy(parties.one.key, key)
    os.chmod(key, 0o640)
    expired = str(parties.expired.certificate)

    def found(**settings: Any) -> list[str]:
        problems = _app(parties, **settings).conf.check()
        return [
            f"{one.severity}: {one.message}" for one in problems if one.key.startswith("security")
        ]

    assert found(security_certificate=str(make_party(tmp_path, "long", days=60).certificate)) == []
    assert found(security_key=str(key), security_certificate=expired) == [
        f"error: the certificate {expired!r} expired at {_end(expired)} UTC",
        f"warning: others on this host may read the private key {str(key)!r}: chmod 600 {key}",
    ]
    (soon,) = found()
    assert soon.startswith("warning: the certificate ") and soon.endswith("expires within 2 days")
    assert "error: there is no file '/nowhere'" in found(security_key="/nowhere")
    assert any("security_cert_store is not set" in one for one in found(security_cert_store=None))


def _end(path: str) -> str:
    return f"{security.read_certificate(path).expires:%Y-%m-%d %H:%M}"
