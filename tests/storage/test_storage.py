import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from cnnjobs.cluster.machine import free_ports
from cnnjobs.errors import ConfigError, StorageError
from cnnjobs.storage import filesystem, s3_retries
from cnnjobs.storage import s3 as clients
from tests.support.fault_proxy import Rule
from tests.support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY


def _error(function, *arguments):
    """Return the one line that is raised, by a call or by walking through its result."""
    with pytest.raises(StorageError) as caught:
        list(function(*arguments) or ())
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET_KEY not in message
    return message


def _listed(uri):
    return [filesystem.relative(file.path, str(uri)) for file in filesystem.list_files(str(uri))]


def _fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def _break_off(uri):
    with filesystem.writing(uri) as file:
        file.write(b"half")
        raise KeyError


def _everything(folder):
    return sorted(path.name for path in Path(folder).rglob("*"))


@pytest.fixture
def forbidden(open_folder):
    """A folder with one file that only root can look into."""
    folder = open_folder / "forbidden"
    _fill(folder, "a.png")
    folder.chmod(0)
    yield folder
    folder.chmod(0o755)


# names


def test_a_local_name_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ray")
    assert filesystem.normalize("data/xrays") == f"{tmp_path}/data/xrays"
    assert filesystem.normalize("data/") == f"{tmp_path}/data"
    assert filesystem.normalize(Path("data")) == f"{tmp_path}/data"
    assert filesystem.normalize("~/data") == "/home/ray/data"
    assert filesystem.normalize("/data") == "/data"


def test_an_s3_name_loses_the_slash_at_its_end():
    assert filesystem.normalize("s3://bucket/a/b/") == "s3://bucket/a/b"
    assert filesystem.normalize("s3://bucket/") == "s3://bucket"
    assert filesystem.normalize("s3://bucket") == "s3://bucket"


@pytest.mark.parametrize("name", ["s3://", "s3:///key"])
def test_an_s3_name_without_a_bucket_is_refused(name):
    assert (
        _error(filesystem.normalize, name) == f"{name} names no bucket; write s3://bucket/prefix."
    )


@pytest.mark.parametrize("name", ["http://host/x", "gs://bucket/x", "S3://bucket/x"])
def test_other_kinds_of_names_are_refused(name):
    message = f"{name} is neither a local path nor s3://bucket/prefix."
    assert _error(filesystem.normalize, name) == message


def test_join_and_relative_undo_each_other():
    for root in ("/data", "/data/", "s3://bucket", "s3://bucket/prefix"):
        joined = filesystem.join(root, "a", "b.png")
        assert joined == f"{root.rstrip('/')}/a/b.png"
        assert filesystem.relative(joined, root) == "a/b.png"


# local listing


def test_a_listing_is_sorted_and_nested(tmp_path):
    _fill(tmp_path, "b/2.png", "b/10.png", "a.png", "c/d/e.png", "c/a.png", "Z.png")
    assert _listed(tmp_path) == ["Z.png", "a.png", "b/10.png", "b/2.png", "c/a.png", "c/d/e.png"]


def test_a_listing_has_path_size_and_time(tmp_path):
    _fill(tmp_path, "a.png")
    os.utime(tmp_path / "a.png", ns=(0, 1_700_000_000_123_456_789))
    (file,) = filesystem.list_files(str(tmp_path))
    modified = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert file == filesystem.FileInfo(
        path=f"{tmp_path}/a.png", size_bytes=5, modified=modified, etag=None
    )


def test_a_listing_has_hidden_files_too(tmp_path):
    _fill(tmp_path, ".hidden", ".folder/a", "b")
    assert _listed(tmp_path) == [".folder/a", ".hidden", "b"]


def test_an_empty_folder_lists_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    assert _listed(tmp_path) == []


def test_names_with_odd_characters_are_listed(tmp_path):
    odd = ["a b.png", "new\nline.png", "x-röntgen.png", "胸部.png", "100%.png", "a\\b.png"]
    _fill(tmp_path, *odd)
    assert _listed(tmp_path) == sorted(odd)


def test_links_to_files_and_folders_are_followed(tmp_path):
    _fill(tmp_path, "real/a.png", "data/b.png")
    (tmp_path / "data/file.png").symlink_to(tmp_path / "real/a.png")
    (tmp_path / "data/folder").symlink_to(tmp_path / "real")
    files = {Path(file.path).name: file for file in filesystem.list_files(f"{tmp_path}/data")}
    assert sorted(files) == ["a.png", "b.png", "file.png"]
    assert files["file.png"].size_bytes == len("real/a.png")


def test_a_folder_reached_twice_is_listed_once(tmp_path):
    _fill(tmp_path, "real/a.png")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    assert _listed(tmp_path) == ["again/a.png"]


def test_a_cycle_of_links_ends(tmp_path):
    _fill(tmp_path, "a/b/c.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a")
    assert _listed(tmp_path) == ["a/b/c.png"]


def test_a_link_to_nothing_is_listed(tmp_path):
    (tmp_path / "dead.png").symlink_to(tmp_path / "gone.png")
    assert _listed(tmp_path) == ["dead.png"]


def test_a_link_to_itself_is_listed_like_one_to_nothing(tmp_path):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert _listed(tmp_path) == ["loop.png"]


def test_a_pipe_is_not_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert _listed(tmp_path) == []


def test_a_missing_folder_cannot_be_listed(tmp_path):
    gone = f"{tmp_path}/gone"
    assert _error(filesystem.list_files, gone) == f"{gone} does not exist."


def test_a_missing_folder_is_noticed_before_the_first_file(tmp_path):
    with pytest.raises(StorageError):
        filesystem.list_files(f"{tmp_path}/gone")


def test_a_file_cannot_be_listed(tmp_path):
    _fill(tmp_path, "a.png")
    file = f"{tmp_path}/a.png"
    assert _error(filesystem.list_files, file) == f"{file} is a file, not a folder."


def test_a_forbidden_folder_cannot_be_listed(forbidden, plain_user):
    message = f"{forbidden} cannot be listed: Permission denied."
    assert _error(filesystem.list_files, str(forbidden)) == message
    assert _error(filesystem.list_files, str(forbidden.parent)) == message


def test_a_folder_inside_a_forbidden_one_cannot_be_listed(forbidden, plain_user):
    inside = f"{forbidden}/inside"
    message = f"{inside} cannot be listed: Permission denied."
    assert _error(filesystem.list_files, inside) == message


# local reading and writing


def test_what_is_written_is_read(tmp_path):
    file = f"{tmp_path}/deep/er/a.bin"
    filesystem.write_bytes(file, b"\0one")
    assert filesystem.read_bytes(file) == b"\0one"
    filesystem.write_bytes(file, b"")
    assert filesystem.read_bytes(file) == b""
    assert _everything(tmp_path) == ["a.bin", "deep", "er"]


def test_reading_raises_what_the_system_raises(tmp_path, forbidden, plain_user):
    with pytest.raises(PermissionError):
        filesystem.read_bytes(f"{forbidden}/a.png")
    with pytest.raises(FileNotFoundError):
        filesystem.read_bytes(f"{forbidden.parent}/gone.png")


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "table.parquet"
    filesystem.write_bytes(str(file), b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        message = _error(filesystem.write_bytes, str(file), bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message == f"{file} cannot be written: File too large."
    assert file.read_bytes() == b"old"
    assert _everything(tmp_path) == ["table.parquet"]


def test_a_file_that_breaks_off_while_it_is_written_keeps_the_old_content(tmp_path):
    file = tmp_path / "table.csv"
    filesystem.write_bytes(str(file), b"old")
    with pytest.raises(KeyError):
        _break_off(str(file))
    assert file.read_bytes() == b"old"
    with filesystem.writing(str(file)) as whole:
        whole.write(b"new ")
        whole.write(b"and whole")
    assert file.read_bytes() == b"new and whole"
    assert _everything(tmp_path) == ["table.csv"]


def test_a_write_over_a_folder_fails_and_leaves_nothing(tmp_path):
    _fill(tmp_path, "folder/a")
    folder = f"{tmp_path}/folder"
    message = f"{folder} cannot be written: Is a directory."
    assert _error(filesystem.write_bytes, folder, b"x") == message
    assert _everything(tmp_path) == ["a", "folder"]


def test_a_write_into_a_forbidden_folder_fails(open_folder, plain_user):
    file = f"{open_folder}/a"
    message = f"{file} cannot be written: Permission denied."
    assert _error(filesystem.write_bytes, file, b"x") == message


def test_names_are_those_of_whole_files_right_there(tmp_path):
    _fill(tmp_path, "b", "a", ".a.0123.partial", "folder/c")
    assert filesystem.names(str(tmp_path)) == ["a", "b"]
    assert filesystem.names(f"{tmp_path}/gone") == []


def test_names_of_a_forbidden_folder_are_an_error(forbidden, plain_user):
    message = _error(filesystem.names, str(forbidden))
    assert message.startswith(f"{forbidden} cannot be listed: ")
    assert "Permission denied" in message


def test_a_file_exists_and_so_does_a_folder(tmp_path):
    _fill(tmp_path, "folder/a")
    assert filesystem.exists(f"{tmp_path}/folder/a")
    assert filesystem.exists(f"{tmp_path}/folder")
    assert not filesystem.exists(f"{tmp_path}/folder/b")
    assert filesystem.is_file(f"{tmp_path}/folder/a")
    assert not filesystem.is_file(f"{tmp_path}/folder")
    assert not filesystem.is_file(f"{tmp_path}/gone")


def test_empty_is_nothing_there_or_a_folder_with_nothing_in_it(tmp_path):
    _fill(tmp_path, "full/.hidden", "file")
    (tmp_path / "empty").mkdir()
    assert filesystem.is_empty(f"{tmp_path}/gone")
    assert filesystem.is_empty(f"{tmp_path}/empty")
    assert not filesystem.is_empty(f"{tmp_path}/full")
    assert not filesystem.is_empty(f"{tmp_path}/file")


def test_whether_a_forbidden_folder_is_empty_is_an_error(forbidden, plain_user):
    assert "Permission denied" in _error(filesystem.is_empty, str(forbidden))


def test_delete_takes_a_file_or_a_folder_with_all_in_it(tmp_path):
    _fill(tmp_path, "a", "b", "folder/c/d")
    filesystem.delete(f"{tmp_path}/a")
    filesystem.delete(f"{tmp_path}/folder")
    assert _everything(tmp_path) == ["b"]


def test_what_is_missing_cannot_be_deleted(tmp_path):
    gone = f"{tmp_path}/gone"
    assert _error(filesystem.delete, gone).startswith(f"{gone} cannot be deleted: ")


def test_a_new_folder_under_a_writable_one_is_writable_and_not_made(tmp_path):
    filesystem.check_writable(f"{tmp_path}/new/deep")
    assert _everything(tmp_path) == []


def test_nothing_can_be_written_under_a_file(tmp_path):
    _fill(tmp_path, "file")
    uri = f"{tmp_path}/file/run"
    assert _error(filesystem.check_writable, uri).startswith(f"{uri} cannot be written: ")


def test_a_folder_without_permission_is_not_writable(open_folder, plain_user):
    uri = f"{open_folder}/run"
    message = f"{uri} cannot be written: no permission to write in {open_folder}."
    assert _error(filesystem.check_writable, uri) == message


def test_a_folder_inside_a_forbidden_one_is_not_writable(forbidden, plain_user):
    uri = f"{forbidden}/run/deep"
    assert _error(filesystem.check_writable, uri).startswith(f"{uri} cannot be written: ")


# S3


def test_what_is_written_to_s3_is_read(s3):
    filesystem.write_bytes(f"{s3}/a/b.bin", b"\0one")
    assert filesystem.read_bytes(f"{s3}/a/b.bin") == b"\0one"
    filesystem.write_bytes(f"{s3}/a/b.bin", b"")
    assert filesystem.read_bytes(f"{s3}/a/b.bin") == b""


def test_a_large_object_is_whole(s3):
    data = os.urandom(12_000_000)
    filesystem.write_bytes(f"{s3}/large.bin", data)
    assert filesystem.read_bytes(f"{s3}/large.bin") == data


@pytest.mark.parametrize("kind", ["slow down", "internal error", "reset"])
def test_a_file_is_put_in_parts_and_a_fault_of_one_is_not_its_end(
    s3, faults, short_waits, monkeypatch, kind
):
    monkeypatch.setattr("cnnjobs.storage.s3._PART_BYTES", 5 << 20)
    faults.rules = [Rule(kind, "PUT .*/large.bin.*partNumber=2", times=1)]
    data = os.urandom(12_000_000)
    with filesystem.writing(f"{s3}/large.bin") as file:
        file.write(data[:7])
        file.write(data[7:])
    assert faults.injected == {kind: 1}
    assert filesystem.read_bytes(f"{s3}/large.bin") == data


def test_of_an_object_that_breaks_off_while_it_is_written_nothing_is_there(s3):
    with pytest.raises(KeyError):
        _break_off(f"{s3}/small.bin")
    assert not filesystem.exists(f"{s3}/small.bin")


def test_an_s3_listing_has_path_size_time_and_etag(s3):
    filesystem.write_bytes(f"{s3}/a/b.png", b"12345")
    (file,) = filesystem.list_files(s3)
    assert (file.path, file.size_bytes) == (f"{s3}/a/b.png", 5)
    assert file.etag == "827ccb0eea8a706c4c34a16891f84e7b"
    assert file.modified.utcoffset() == datetime.now(UTC).utcoffset()
    assert abs(file.modified.timestamp() - time.time()) < 600


def test_an_s3_listing_keeps_to_its_prefix(s3):
    for key in ("data/a.png", "data/sub/b.png", "database/c.png"):
        filesystem.write_bytes(f"{s3}/{key}", b"x")
    assert _listed(f"{s3}/data") == ["a.png", "sub/b.png"]
    assert _listed(f"{s3}/nothing") == []


def test_keys_with_odd_characters_are_listed_and_read(s3):
    odd = ["a b.png", "röntgen.png", "a+b.png", "100%.png", "a&b=c?.png", "#1.png"]
    for key in odd:
        filesystem.write_bytes(f"{s3}/{key}", key.encode())
    assert sorted(_listed(s3)) == sorted(odd)
    assert {filesystem.read_bytes(f"{s3}/{key}").decode() for key in odd} == set(odd)


def test_more_than_a_thousand_keys_are_listed(s3):
    client = boto3.client("s3")
    prefix = s3.removeprefix(f"s3://{BUCKET}/")
    keys = [f"{number:04d}.png" for number in range(1005)]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"")
    client.close()
    assert _listed(s3) == keys
    assert filesystem.names(s3) == keys


def test_a_tree_of_prefixes_is_listed_whole_and_in_the_order_of_its_keys(s3):
    wide = [f"wide/{patient:03d}/{image}.png" for patient in range(120) for image in range(2)]
    deep = [f"deep/{a}/{b}/{c}.png" for a in range(3) for b in range(12) for c in range(2)]
    keys = [*wide, *deep, "a.png", "deep.png", "deep/1.png", "deep-er/b.png", "zz/y/x/w/v.png"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: filesystem.write_bytes(f"{s3}/{key}", b"x"), keys))
    assert _listed(s3) == sorted(keys)
    assert _listed(f"{s3}/deep") == sorted(k.removeprefix("deep/") for k in keys if "deep/" in k)


def test_s3_names_are_those_right_under_the_prefix(s3):
    for key in ("b", "a", ".hidden", "folder/c"):
        filesystem.write_bytes(f"{s3}/{key}", b"x")
    assert filesystem.names(s3) == ["a", "b"]
    assert filesystem.names(f"{s3}/nothing") == []


def test_an_s3_key_exists_and_so_does_its_prefix(s3):
    filesystem.write_bytes(f"{s3}/folder/a", b"x")
    assert filesystem.exists(f"{s3}/folder/a")
    assert filesystem.exists(f"{s3}/folder")
    assert not filesystem.exists(f"{s3}/fold")
    assert filesystem.is_file(f"{s3}/folder/a")
    assert not filesystem.is_file(f"{s3}/folder")


def test_an_s3_prefix_is_empty_until_a_key_is_under_it(s3):
    assert filesystem.is_empty(s3)
    filesystem.write_bytes(f"{s3}/a", b"")
    assert not filesystem.is_empty(s3)


def test_a_missing_s3_key_is_not_found(s3):
    with pytest.raises(FileNotFoundError):
        filesystem.read_bytes(f"{s3}/gone")


def test_deleting_one_s3_key_leaves_the_others(s3):
    filesystem.write_bytes(f"{s3}/a", b"x")
    filesystem.write_bytes(f"{s3}/b", b"x")
    filesystem.delete(f"{s3}/a")
    assert filesystem.names(s3) == ["b"]


def test_deleting_an_s3_prefix_deletes_all_under_it_and_no_more(s3):
    for key in ("run/a", "run/deep/b", "run2/c"):
        filesystem.write_bytes(f"{s3}/{key}", b"x")
    filesystem.delete(f"{s3}/run")
    assert _listed(s3) == ["run2/c"]


def test_checking_an_s3_prefix_leaves_nothing_there(s3):
    filesystem.check_writable(f"{s3}/run/deep")
    assert filesystem.is_empty(f"{s3}/run/deep")
    assert _listed(s3) == []
    filesystem.write_bytes(f"{s3}/run/deep/a", b"x")
    assert _listed(s3) == ["run/deep/a"]


# S3 that refuses: one clear line, soon


@pytest.fixture
def hurried():
    """Fail a test that retries for longer than a user would wait for an error."""
    before = clients.num_retries()
    yield
    assert clients.num_retries() - before <= 1


CALLS = {
    "listed": (filesystem.list_files,),
    "written": (filesystem.write_bytes, b"x"),
    "checked": (filesystem.check_writable,),
    "read": (filesystem.is_empty,),
}


def _refused(call, uri):
    function, *more = CALLS[call]
    message = _error(function, uri, *more)
    assert message.startswith(uri)
    assert ACCESS_KEY not in message
    return message.partition(": ")[2]


@pytest.mark.parametrize("call", ["listed", "written", "checked"])
def test_a_missing_bucket_is_named(call, s3, hurried):
    assert _refused(call, "s3://no-such-bucket/a") == "the bucket does not exist."


@pytest.mark.parametrize("call", ["listed", "written", "checked"])
def test_a_wrong_secret_is_reported(call, s3, s3_environment, hurried):
    s3_environment(AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert _refused(call, f"{s3}/a") == "S3 refuses the secret key."


@pytest.mark.parametrize("call", ["listed", "written", "checked"])
def test_an_unknown_access_key_is_reported(call, s3, s3_environment, hurried):
    s3_environment(AWS_ACCESS_KEY_ID="unknown-key")
    assert _refused(call, f"{s3}/a") == "S3 does not know this access key."


def test_a_request_that_is_denied_without_a_body_is_reported(s3, s3_environment, hurried):
    s3_environment(AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert _refused("read", f"{s3}/a") == "S3 denies access with these credentials."


@pytest.mark.parametrize("call", CALLS)
def test_an_endpoint_where_nothing_listens_is_reported(call, s3, s3_environment, hurried):
    s3_environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert _refused(call, f"{s3}/a") == "the S3 endpoint does not answer."


def test_missing_credentials_are_reported(s3, s3_environment, hurried):
    s3_environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert _refused("listed", f"{s3}/a") == (
        "no S3 credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or give --s3-anonymous for a public bucket."
    )


def test_an_unknown_profile_is_reported(s3, s3_environment, hurried):
    s3_environment(AWS_PROFILE="nobody")
    assert _refused("listed", s3) == "The config profile (nobody) could not be found."


def test_an_endpoint_that_is_no_url_is_reported(s3, s3_environment, hurried):
    s3_environment(AWS_ENDPOINT_URL="localhost:9000")
    with pytest.raises(ConfigError) as caught:
        list(filesystem.list_files(s3))
    assert str(caught.value) == (
        "the S3 endpoint must be http://HOST or https://HOST, got localhost:9000."
    )


def test_a_bucket_name_that_cannot_be_is_reported(s3, hurried):
    assert "bucket name" in _refused("listed", "s3://two words/a")


# S3 that fails now and then


@pytest.fixture
def short_waits(monkeypatch):
    """Back-off for tests: the order and number of the waits, not their length."""
    monkeypatch.setattr(s3_retries, "WAITS_S", tuple(wait / 100 for wait in s3_retries.WAITS_S))


EVERYTHING = {
    "slow down": 0.1,
    "internal error": 0.05,
    "reset": 0.1,
    "cut": 0.1,
    "delay": 0.03,
    "trickle": 0.03,
}


def test_nothing_is_lost_through_a_server_that_fails_often(s3, faults, short_waits):
    faults.rates = EVERYTHING
    before = clients.num_retries()
    files = {f"{s3}/{number:02d}.bin": os.urandom(number * 100) for number in range(80)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(filesystem.write_bytes, files, files.values()))
        assert dict(zip(files, pool.map(filesystem.read_bytes, files), strict=True)) == files
    assert _listed(s3) == [f"{number:02d}.bin" for number in range(80)]
    assert all(filesystem.is_file(uri) for uri in files)
    filesystem.delete(s3)
    assert filesystem.is_empty(s3)
    assert set(faults.injected) == set(EVERYTHING)
    refused = sum(faults.injected[kind] for kind in ("slow down", "internal error", "reset"))
    # more where a body was cut, or a kept connection was found closed
    assert clients.num_retries() - before >= refused


@pytest.mark.parametrize("kind", ["slow down", "internal error", "reset", "cut"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "LIST"])
def test_one_fault_of_any_request_is_one_retry(method, kind, s3, faults, short_waits):
    if kind == "cut" and method in ("HEAD", "DELETE"):
        kind = "reset"  # they have no body to cut
    filesystem.write_bytes(f"{s3}/a", b"1234")
    calls = {
        "GET": lambda: filesystem.read_bytes(f"{s3}/a"),
        "HEAD": lambda: filesystem.is_file(f"{s3}/a"),
        "PUT": lambda: filesystem.write_bytes(f"{s3}/a", b"1234"),
        "DELETE": lambda: filesystem.delete(f"{s3}/a"),
        "LIST": lambda: filesystem.names(s3),
    }
    wanted = {"GET": b"1234", "HEAD": True, "LIST": ["a"]}
    pattern = "GET .*list-type=2" if method == "LIST" else f"{method} [^?]*/a"
    faults.rules = [Rule(kind, pattern, times=1)]
    before = clients.num_retries()
    assert calls[method]() == wanted.get(method)
    assert faults.injected == {kind: 1}
    assert clients.num_retries() - before == 1


def test_a_body_cut_short_never_passes_as_a_whole_file(s3, faults, short_waits):
    filesystem.write_bytes(f"{s3}/a", bytes(100_000))
    faults.rules = [Rule("cut", "GET .*/a")]
    assert "bytes" in _error(filesystem.read_file, f"{s3}/a")
    assert faults.injected["cut"] == len(s3_retries.WAITS_S) + 1


def test_a_body_that_trickles_is_asked_for_again(s3, faults, short_waits, monkeypatch):
    monkeypatch.setattr(clients, "_BODY_S", 0.2)
    filesystem.write_bytes(f"{s3}/a", bytes(range(256)) * 200)
    faults.rules = [Rule("trickle", "GET .*/a", times=1)]
    before = clients.num_retries()
    assert filesystem.read_bytes(f"{s3}/a") == bytes(range(256)) * 200
    assert clients.num_retries() - before == 1


@pytest.mark.parametrize(
    ("call", "method"), [("listed", "GET"), ("written", "PUT"), ("checked", "PUT"), ("read", "GET")]
)
def test_a_server_that_always_refuses_ends_in_one_line(call, method, s3, faults, short_waits):
    faults.rules = [Rule("slow down", f"{method} ")]
    assert _refused(call, f"{s3}/a") == "S3 still answers 503 SlowDown after several attempts."
    assert faults.injected["slow down"] == len(s3_retries.WAITS_S) + 1


def test_waits_grow_and_end_within_a_minute():
    assert sorted(s3_retries.WAITS_S) == list(s3_retries.WAITS_S)
    assert 30 < sum(s3_retries.WAITS_S) < 60


def test_what_does_not_pass_is_asked_once(s3, faults, hurried):
    before = clients.num_retries()
    with pytest.raises(FileNotFoundError):
        filesystem.read_bytes(f"{s3}/gone")
    faults.rules = [Rule("denied", "GET ")]
    with pytest.raises(PermissionError):
        filesystem.read_bytes(f"{s3}/a")
    assert faults.num_requests == 2
    assert clients.num_retries() == before


# rights, seen before the work begins


def test_what_may_be_listed_and_read_passes_the_check(s3):
    filesystem.write_bytes(f"{s3}/data/a", b"")
    filesystem.check_readable(f"{s3}/data")
    filesystem.check_readable(f"{s3}/data/a")
    filesystem.check_readable(s3.rpartition("/")[0])
    filesystem.check_readable(f"{s3}/gone")


def test_a_prefix_that_may_be_listed_but_not_read_is_reported(s3, faults, hurried):
    filesystem.write_bytes(f"{s3}/data/a", b"x")
    faults.rules = [Rule("denied", "GET [^?]*/data/a")]
    assert _error(filesystem.check_readable, f"{s3}/data") == (
        f"{s3}/data/a cannot be read: S3 denies access with these credentials."
    )


def test_a_prefix_that_may_not_be_listed_is_reported(s3, faults, hurried):
    filesystem.write_bytes(f"{s3}/data/a", b"x")
    faults.rules = [Rule("denied", "GET .*list-type=2")]
    assert _error(filesystem.check_readable, f"{s3}/data") == (
        f"{s3}/data cannot be listed: S3 denies access with these credentials."
    )
    filesystem.check_readable(f"{s3}/data/a")


def test_a_prefix_that_may_be_read_but_not_written_is_reported(s3, faults, hurried):
    faults.rules = [Rule("denied", "PUT ")]
    assert _refused("checked", f"{s3}/run") == "S3 denies access with these credentials."


def test_a_bucket_of_another_region_is_reported(s3, faults, hurried):
    faults.rules = [Rule("region", "")]
    assert _error(filesystem.check_readable, s3) == (
        f"{s3} cannot be read: the bucket is in another region; set --s3-region."
    )


def test_a_folder_that_may_not_be_read_is_reported(forbidden, plain_user):
    message = f"{forbidden} cannot be read: no permission."
    assert _error(filesystem.check_readable, str(forbidden)) == message
    filesystem.check_readable(f"{forbidden.parent}/gone")


# where S3 is, and who asks


def test_settings_reach_the_environment_and_what_starts_elsewhere(s3_environment):
    s3_environment(
        AWS_ENDPOINT_URL=None, AWS_ENDPOINT_URL_S3=None, AWS_REGION=None, AWS_PROFILE=None,
        AWS_DEFAULT_REGION=None, CNNJOBS_S3_ANONYMOUS=None, CNNJOBS_S3_REACHED=None,
        AWS_REQUEST_CHECKSUM_CALCULATION=None, AWS_RESPONSE_CHECKSUM_VALIDATION=None,
    )  # fmt: skip
    clients.use(endpoint="http://localhost:1/", region="eu-1", profile="night", anonymous=True)
    assert clients.environment() == {
        "AWS_ENDPOINT_URL_S3": "http://localhost:1",
        "AWS_REGION": "eu-1",
        "AWS_DEFAULT_REGION": "eu-1",
        "AWS_PROFILE": "night",
        "CNNJOBS_S3_ANONYMOUS": "1",
    }
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ


def test_keys_stay_out_of_the_environment_of_other_machines(s3):
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET_KEY
    assert SECRET_KEY not in str(clients.environment())
    assert ACCESS_KEY not in str(clients.environment())


def test_an_anonymous_request_is_not_signed(s3, s3_environment, hurried):
    s3_environment(CNNJOBS_S3_ANONYMOUS="1", AWS_SECRET_ACCESS_KEY=None, AWS_ACCESS_KEY_ID=None)
    assert "credentials found" not in _refused("listed", f"{s3}/a")


def test_a_profile_wins_over_keys_in_the_environment(s3, s3_environment, tmp_path):
    filesystem.write_bytes(f"{s3}/a", b"x")
    keys = f"aws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
    (tmp_path / "credentials").write_text(f"[night]\n{keys}")
    s3_environment(
        AWS_SHARED_CREDENTIALS_FILE=f"{tmp_path}/credentials",
        AWS_ACCESS_KEY_ID="unknown-key",
    )
    clients.use(profile="night")
    assert filesystem.read_bytes(f"{s3}/a") == b"x"


SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIAEXAMPLE:{SECRET}@bucket/prefix",
        f"s3://AKIAEXAMPLE:{SECRET.replace('/', '')}@bucket",
        f"https://bucket.s3.amazonaws.com/a.png?X-Amz-Signature={SECRET}",
        f"s3://bucket/a.png?AWSAccessKeyId=AKIAEXAMPLE&Signature={SECRET}",
        f"https://AKIAEXAMPLE:{SECRET}@host/a",
    ],
)
def test_a_name_that_holds_a_secret_is_refused_without_it(uri):
    message = _error(filesystem.normalize, uri)
    assert SECRET[:12] not in message
    assert "AKIAEXAMPLE" not in message


@pytest.mark.parametrize(
    "endpoint", [f"http://user:{SECRET}@host", "host:9000", "ftp://host", "http://", "http://h?a=b"]
)
def test_an_endpoint_that_holds_more_than_a_server_is_refused(endpoint):
    with pytest.raises(ConfigError) as caught:
        clients.use(endpoint=endpoint)
    assert SECRET[:12] not in str(caught.value)
    assert "\n" not in str(caught.value)
