"""Servers that answer as S3 does not, keys that are odd, and buckets of their own kind."""

import base64
import itertools
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from botocore.awsrequest import AWSResponse

from cnnjobs.errors import ConfigError, ImageError, StorageError
from cnnjobs.imaging.reading import read_image
from cnnjobs.storage import filesystem, s3, s3_client, s3_names
from tests.support.odd_server import OddServer

XML = {"Content-Type": "application/xml"}
OBJECT = {"ETag": '"0cc175b9c0f1b6a831c399e269772661"', "Content-Type": "image/png"}


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    """Fail a test that retries what does not pass."""
    before = s3.num_retries()
    yield
    assert s3.num_retries() - before <= 1


def listing(*keys: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    entries = "".join(
        f"<Contents><Key>{quote(key, safe='/')}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
        for key in keys
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>b</Name>"
        f"<EncodingType>url</EncodingType>{more}{entries}</ListBucketResult>"
    ).encode()


def refusal(uri: str = "s3://b/x") -> str:
    with pytest.raises(StorageError) as caught:
        list(filesystem.list_files(uri))
    message = str(caught.value)
    assert "\n" not in message
    return message


# listings


def test_a_listing_that_is_cut_off_without_a_token_is_an_error(odd: OddServer) -> None:
    body = listing("x/a.png", more="<IsTruncated>true</IsTruncated>")
    odd.answer = lambda method, path: (200, XML, body)

    assert refusal() == (
        "s3://b/x cannot be listed: the server says that the listing goes on, but not where; it "
        "does not list as S3 does."
    )


@pytest.mark.parametrize("period", [1, 3])
def test_a_listing_that_goes_round_in_a_circle_is_an_error(odd: OddServer, period: int) -> None:
    tokens = itertools.cycle(f"t{number}" for number in range(period))

    def answer(method: str, path: str) -> Any:
        more = (
            "<IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>{next(tokens)}</NextContinuationToken>"
        )
        return 200, XML, listing("x/a.png", more=more)

    odd.answer = answer
    assert "the listing goes on, but not where" in refusal()


PAGE = b"<!DOCTYPE html><html><body><p>Sign in<br></body></html>"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", PAGE),
        (200, "text/html; charset=utf-8", b"<html><body>Sign in</body></html>"),
        (200, "TEXT/HTML", b""" """ + PAGE),
        (200, "application/json", b'{"status": "ok"}'),
        (200, "text/plain", b"ok"),
        (200, "application/xml", b"<rss></rss>"),
        (403, "text/html", PAGE),
        (404, "text/html", PAGE),
        (405, "text/html", PAGE),
    ],
)
def test_an_endpoint_that_is_no_s3_server_is_one_clear_line(
    odd: OddServer, status: int, kind: str, body: bytes
) -> None:
    odd.answer = lambda method, path: (status, {"Content-Type": kind}, body)

    assert refusal() == (
        f"s3://b/x cannot be listed: the endpoint is not an S3 server (it answers {status} with "
        f"{kind}); check --s3-endpoint."
    )


def test_a_web_page_is_neither_an_object_nor_a_place_to_write(odd: OddServer) -> None:
    odd.answer = lambda method, path: (200, {"Content-Type": "text/html"}, PAGE)

    def write(uri: str) -> None:
        filesystem.write_bytes(uri, b"x")

    for call in (filesystem.is_file, filesystem.exists, write):
        with pytest.raises(StorageError, match="is not an S3 server"):
            call("s3://b/a.png")
    with pytest.raises(ImageError, match=r"^unreadable: the endpoint is not an S3 server"):
        read_image("s3://b/a.png")


def test_an_object_that_is_a_web_page_is_read(odd: OddServer) -> None:
    odd.answer = lambda method, path: (200, {**OBJECT, "Content-Type": "text/html"}, PAGE)

    assert filesystem.read_bytes("s3://b/page.html") == PAGE


def test_an_answer_without_a_body_is_asked_for_again(odd: OddServer) -> None:
    bodies = iter([b"", listing("x/a.png")])
    odd.answer = lambda method, path: (200, XML, next(bodies))

    assert len(list(filesystem.list_files("s3://b/x"))) == 1


def test_an_empty_bucket_is_empty(odd: OddServer) -> None:
    odd.answer = lambda method, path: (200, XML, listing())

    assert list(filesystem.list_files("s3://b/x")) == []


ODD_KEYS = [
    "/a.png",
    "//a.png",
    "a//b.png",
    "a/./b.png",
    "a/../b.png",
    "./a.png",
    "../a.png",
    "new\nline.png",
    "tab\t.png",
    "bell\x07\x1b[31m.png",
    "carriage\r.png",
    "\u202egnp.a",
    "del\x7f\x85.png",
    "a b+c%20&<>\"'.png",
    "胸部/é/e\u0301.png",
    "😀.png",
    "x" * 1020 + ".png",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_listed_and_asked_for_as_it_is(odd: OddServer, key: str) -> None:
    def answer(method: str, path: str) -> Any:
        return (200, XML, listing(key)) if "list-type=2" in path else (200, OBJECT, b"1")

    odd.answer = answer
    (file,) = filesystem.list_files("s3://b")

    assert file.path == f"s3://b/{key}"
    assert filesystem.read_bytes(file.path) == b"1"
    assert odd.requests[-1][1] == f"/b/{quote(key, safe='/~')}"


# objects


def test_part_of_an_object_is_read_from_a_server_that_sends_the_checksum_of_all(
    odd: OddServer,
) -> None:
    whole = bytes(range(256))
    crc = base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()
    odd.answer = lambda method, path: (206, {**OBJECT, "x-amz-checksum-crc32": crc}, whole[:10])

    assert filesystem.read_first("s3://b/a.dcm", 10) == whole[:10]
    assert s3.environment()["AWS_RESPONSE_CHECKSUM_VALIDATION"] == "when_required"


def test_checksums_that_the_user_asks_for_are_checked(odd: OddServer, s3_environment: Any) -> None:
    s3_environment(AWS_RESPONSE_CHECKSUM_VALIDATION="when_supported")
    odd.answer = lambda method, path: (200, OBJECT, b"1")
    filesystem.read_bytes("s3://b/a.png")

    assert odd.requests[-1][2]["x-amz-checksum-mode"] == "ENABLED"


def test_a_server_that_a_profile_names_gets_no_more_checksums_than_required(
    odd: OddServer, s3_environment: Any, tmp_path: Any
) -> None:
    (tmp_path / "config").write_text(f"[profile lab]\nendpoint_url = {odd.endpoint}\n")
    s3_environment(AWS_CONFIG_FILE=f"{tmp_path}/config", AWS_PROFILE="lab", AWS_ENDPOINT_URL=None)
    odd.answer = lambda method, path: (200, OBJECT, b"1")

    assert filesystem.read_bytes("s3://b/a.png") == b"1"
    assert "x-amz-checksum-mode" not in odd.requests[-1][2]


def test_an_archived_object_is_said_to_be_archived(odd: OddServer) -> None:
    code = b"<Error><Code>InvalidObjectState</Code><Message>not valid</Message></Error>"
    odd.answer = lambda method, path: (403, XML, code)

    with pytest.raises(ImageError) as caught:
        read_image("s3://b/a.png")

    assert str(caught.value) == (
        "unreadable: the object is archived (in GLACIER or DEEP_ARCHIVE, for example) and must be "
        "restored before it can be read"
    )


@pytest.mark.parametrize("pays", [True, False])
def test_every_request_says_who_pays_and_so_do_those_of_workers(
    odd: OddServer, tmp_path: Any, pays: bool
) -> None:
    def answer(method: str, path: str) -> Any:
        if method == "POST" or "uploadId" in path:
            words = "InitiateMultipartUploadResult><UploadId>u</UploadId></"
            return 200, {**XML, "ETag": '"e"'}, f"<{words}InitiateMultipartUploadResult>".encode()
        is_list = "list-type=2" in path
        return (200, XML, listing("x/a")) if is_list else (200, OBJECT, b"")

    odd.answer = answer
    s3.use(requester_pays=pays)
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    filesystem.read_bytes("s3://b/x/a")
    filesystem.is_file("s3://b/x/a")
    filesystem.write_bytes("s3://b/x/a", b"1")
    s3.write_file("b/x/large", tmp_path / "large")
    s3.delete("b/x", one_key=False)

    assert {method for method, _, _ in odd.requests} == {"GET", "HEAD", "PUT", "DELETE", "POST"}
    payers = {headers.get("x-amz-request-payer") for _, _, headers in odd.requests}
    assert payers == {"requester" if pays else None}
    assert s3.environment().get(s3_client.REQUESTER_PAYS) == ("1" if pays else None)


def test_who_pays_must_sign() -> None:
    from cnnjobs.config import IndexConfig

    with pytest.raises(ConfigError) as caught:
        IndexConfig(sources=("s3://b",), output="m", s3_anonymous=True, s3_requester_pays=True)
    assert str(caught.value) == (
        "s3_anonymous and s3_requester_pays cannot be given together: who pays must sign."
    )


# access points

POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/xrays"
POINTS = [
    POINT,
    "arn:aws:s3:eu-central-1:123456789012:accesspoint:xrays",
    "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/xrays",
    "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/xrays",
]


@pytest.mark.parametrize("point", [*POINTS, "xrays-abcdefghijklmnop-s3alias", "bucket"])
@pytest.mark.parametrize("key", ["", "a/b@c:d.png", "/a", "a//b"])
def test_the_arn_of_an_access_point_stands_where_a_bucket_does(point: str, key: str) -> None:
    path = f"{point}/{key}" if key else point

    assert s3_names.split(path) == (point, key)
    assert filesystem.normalize(f"s3://{path}/") == f"s3://{path}"


def test_requests_go_to_the_access_point(s3_environment: Any) -> None:
    s3_environment(AWS_ENDPOINT_URL=None, AWS_REGION="eu-central-1")
    asked = []

    class Body:
        status = 200

        def stream(self) -> Iterator[bytes]:
            yield listing("x/a/1.png", "x/a/2.png")

    def answer(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, XML, Body())

    s3.client().meta.events.register("before-send.s3", answer)

    files = [file.path for file in filesystem.list_files(f"s3://{POINT}/x")]

    assert files == [f"s3://{POINT}/x/a/1.png", f"s3://{POINT}/x/a/2.png"]
    place = "https://xrays-123456789012.s3-accesspoint.eu-central-1.amazonaws.com/?list-type=2"
    assert all(url.startswith(place) for url in asked)


@pytest.mark.parametrize("uri", ["s3://arn:aws:s3:::bucket/x", "s3://arn:aws:s3:eu:1:bucket/x"])
def test_another_arn_is_refused_with_what_to_write(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        filesystem.normalize(uri)
    assert str(caught.value) == (
        f"{uri} is not the ARN of an access point; write s3://bucket/prefix, or "
        "s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix."
    )
