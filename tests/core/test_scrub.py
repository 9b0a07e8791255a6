"""What is masked before it is shown to everybody, and what stays readable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.scrub import scrub

S = "s3cr3tValue9"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nAQEA\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"

MASKED = {
    f"DB_PASSWORD={S}": "DB_PASSWORD=***",
    f"PGPASSWORD={S} psql": "PGPASSWORD=*** psql",
    f"export API_KEY='{S} and more'": "export API_KEY=***",
    f"password: {S}": "password: ***",
    f'{{"password": "{S}", "user": "ann"}}': '{"password": ***, "user": "ann"}',
    f'{{"password":"a\\"{S}","user":"ann"}}': '{"password":***,"user":"ann"}',
    f'{{"log":"{{\\"token\\":\\"{S}\\",\\"a\\":1}}"}}': '{"log":"{\\"token\\":***,\\"a\\":1}"}',
    f'"clientSecret" => "{S}"': '"clientSecret" => ***',
    f"secret := {S}": "secret := ***",
    f'token="{S} cut off': "token=***",
    f"GET /login?user=ann&token={S}&next=/home": "GET /login?user=ann&token=***&next=/home",
    f"access_token={S}&b": "access_token=***",
    f"AWS_SECRET_ACCESS_KEY={S}": "AWS_SECRET_ACCESS_KEY=***",
    f"DB_PASS={S}": "DB_PASS=***",
    f"db_pwd: {S}": "db_pwd: ***",
    f"Authorization: Bearer {S}": "Authorization: ***",
    f"authorization: token {S} and what follows": "authorization: ***",
    f"curl -H 'Authorization: Basic {S}' http://a": "curl -H 'Authorization: ***' http://a",
    f'"authorization":"Bearer {S}","host":"a"': '"authorization":***,"host":"a"',
    f"Cookie: session={S}; theme=dark": "Cookie: ***",
    f"sent Bearer {S}!": "sent Bearer ***!",
    "Basic dXNlcjpwYXNz": "Basic ***",
    f"postgres://ann:{S}@db:5432/shop": "postgres://ann:***@db:5432/shop",
    f"redis://:{S}@cache": "redis://:***@cache",
    "amqp://ann:p@ss/w:rd@queue/vhost": "amqp://ann:***@queue/vhost",
    "cloning https://0123456789abcdef0123@github.com/a/b": "cloning https://***@github.com/a/b",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345": "***",
    "x-access-token:ghs_0123456789abcdefghij@github.com": "x-access-token:***",
    "github_pat_11ABCDEFG0123456789_abcdefghijk": "***",
    "glpat-0123456789abcdefghij": "***",
    "using AKIAIOSFODNN7EXAMPLE now": "using *** now",
    "ASIAIOSFODNN7EXAMPLE": "***",
    "xoxb-1234567890-abcdefghij": "***",
    "sk_live_0123456789abcdef": "***",
    f"jwt {JWT} expired": "jwt *** expired",
    f"key:\n{PEM}\nnext": "key:\n***\nnext",
    f"cut off: {PEM[:50]}": "cut off: ***",
    f"{PEM[40:]}\nnext": "***\nnext",
    PEM.replace("\n", "\\n"): "***",
}

READABLE = [
    'password authentication failed for user "postgres"',
    "couldn't find key password in Secret default/db",
    'secret "db-credentials" not found',
    "SyntaxError: Unexpected token < in JSON at position 0",
    "basic authentication is required",
    "Basic Authentication required",
    "Bearer token is missing",
    "PWD=/app",
    "OLDPWD=/srv",
    "pass: 12, fail: 0",
    "max_tokens=4096",
    "tokenizer: bpe",
    "password=${DB_PASSWORD}",
    "password: null, retrying",
    "token=",
    "token == other",
    "compass: north",
    "listening on http://0.0.0.0:8080/path?mail=a@b",
    "connect ECONNREFUSED 10.0.0.7:5432",
    "image shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "commit 0123456789abcdef0123456789abcdef01234567",
    "mail to ann@example.com",
    "git@github.com:acme/shop.git",
    "at Object.<anonymous> (/app/server.js:12:7)",
    "KeyError: 'DATABASE_URL'",
    "-----BEGIN CERTIFICATE-----",
    "eyJ is how a JSON object begins",
]


@pytest.mark.parametrize("text", MASKED)
def test_a_secret_is_masked(text: str) -> None:
    assert scrub(text) == MASKED[text]


@pytest.mark.parametrize("text", READABLE)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert scrub(text) == text


@given(st.text(), st.sampled_from(["PASSWORD=", "password: ", '{"api_key": "', "https://ann:", "Authorization: "]))
def test_a_secret_is_masked_whatever_stands_around_it(noise: str, before: str) -> None:
    after = "@host" if "://" in before else '"'
    assert S not in scrub(f"{noise}\n{before}{S}{after}\n{noise}")


@given(st.text() | st.text("token=: \"'\\&@/pasword-BEGINPRIVATE KEY\n"))
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


LONG = [
    "token",
    'token="',
    "://a:",
    "-----BEGIN PRIVATE KEY-----",
    "-----END ",
    "a",
    'token\\"',
    "eyJ",
    'token: \\"a',
    "_pass",
]


@pytest.mark.parametrize("part", LONG)
def test_no_text_takes_long(part: str) -> None:
    began = time.process_time()
    scrub(part * (200_000 // len(part)))
    assert time.process_time() - began < 2


@pytest.mark.parametrize("part", ["://", "://a:", "a=", "-----BEGIN", "eyJ.", "eyJ-", "-eyJaaaaaaaa.", "@://a:"])
def test_no_text_takes_much_longer_than_a_plain_one(part: str) -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        scrub(text * ((1 << 20) // len(text)))
        return time.process_time() - began

    plain = seconds("the server has started; ")
    assert seconds(part) < 5 * plain + 0.5
